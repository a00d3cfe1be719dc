"""authorize and capability: nobody is heard beyond what it may say, and to whom."""

from __future__ import annotations

import pytest
import torch
from builders import Scripted, attack, comms, defense, forge, team_shape

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError
from agentcomm.conformance.conversations import carry, conversation, heard
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position
from agentcomm.contracts.traffic import Links
from agentcomm.contracts.views import MessageView

S = team_shape(worlds=4, agents=5, degree=2)
TALK = conversation(S, 8, closed=0, ends=0)
STRANGERS = ["flood", "impersonate"]


@pytest.mark.parametrize(("name", "arguments"), [("authorize", {}), ("capability", {"lifetime": 1})])
@pytest.mark.parametrize("distance", [1, 2, 3])
def test_a_valid_member_is_not_heard_beyond_its_scope(name: str, arguments: dict[str, int], distance: int) -> None:
    """It seals its messages itself: authentication alone lets them pass."""
    abuse = {"node": 2, "distance": distance}
    alone = comms(S, [attack("abuse", S, **abuse)], [defense("authenticate", S)])
    carry(alone, TALK)
    assert alone.ledger["accepted_forged"].any() == (distance == 1)
    network = comms(S, [attack("abuse", S, **abuse)], [defense("authenticate", S), defense(name, S, **arguments)])
    carry(network, TALK)
    n = network.ledger
    assert int(n["forged"].sum()) > 0
    assert not n["accepted_forged"].any()
    assert torch.equal(n["accepted"], n["sent"])


@pytest.mark.parametrize("name", ["authorize", "capability"])
def test_misuse_within_the_scope_passes(name: str) -> None:
    """The limit of both."""
    network = comms(S, [attack("noise", S, node=1, position="node")], [defense("authenticate", S), defense(name, S)])
    carry(network, TALK)
    assert int(network.ledger["accepted_tampered"].sum()) > 0


@pytest.mark.parametrize("transport", ["batch", "objects"])
@pytest.mark.parametrize("form", STRANGERS)
def test_strangers_hold_no_capability(form: str, transport: str) -> None:
    s = team_shape(worlds=2)
    network = comms(s, [attack(form, s)], [defense("capability", s)], transport=transport)
    carry(network, conversation(s, 3, closed=0, ends=0))
    n = network.ledger
    assert torch.equal(n["accepted"], n["sent"])
    assert torch.equal(n["refused"], n["forged"])


def test_transports_agree_and_count_the_token() -> None:
    books = []
    for transport in ("batch", "objects"):
        attacks = [attack("abuse", S, node=1), attack("noise", S, probability=0.3)]
        network = comms(S, attacks, [defense("capability", S, lifetime=2)], transport=transport)
        carry(network, TALK[:6])
        books.append((network.ledger.messages, network.ledger.bytes))
    assert all(torch.equal(a, b) for a, b in zip(*books, strict=True))
    sealed = comms(S, [], [defense("authenticate", S)])
    tokens = comms(S, [], [defense("capability", S)])
    for network in (sealed, tokens):
        carry(network, TALK)
    assert defense("capability", S).message_bytes == 24
    assert torch.equal(tokens.ledger.bytes - sealed.ledger.bytes, 24 * sealed.ledger["sent"])


@pytest.mark.parametrize(("lifetime", "passes"), [(1, 1), (2, 2), (4, 4)])
def test_a_token_outlives_its_edge_until_it_expires(lifetime: int, passes: int) -> None:
    """Agent 1 is on agent 0's graph in step 0 only, and goes on sending."""
    s = team_shape(worlds=1, agents=3, degree=1, rounds=1)

    def edits(view: MessageView) -> MessageEdits:
        made = forge(view, s, sender=1)
        first = view.step.view(-1, 1, 1) > 0
        only = torch.arange(3).view(1, -1, 1) == 0
        return MessageEdits(inject=type(made)(**{**vars(made), "where": first & only, "sign": True}))

    node = Scripted(s, ["inject"], edits, Position(kind="node", node=1))
    network = comms(s, [node], [defense("capability", s, lifetime=lifetime)])
    late = 0
    for step in range(6):
        source = torch.tensor([[[1 if step == 0 else 2], [0], [0]]])
        links = Links(source, torch.ones(1, 3, dtype=torch.bool))
        inbox = network.exchange(torch.randn(1, 3, s.width), links, torch.tensor([step]), 0)
        late += int(inbox.mask[0, 0, 1:].sum())
    assert late == passes - 1


def test_tokens_are_for_rounds_and_principals() -> None:
    only = comms(S, [], [defense("capability", S, rounds=[1])])
    inboxes = carry(only, TALK)
    assert not any(inbox.mask.any() for inbox in inboxes[0::2])
    assert all(inbox.mask.all() for inbox in inboxes[1::2])
    named = comms(S, [], [defense("capability", S, grants=[[1, 0], [2, 0]])])
    for e, inbox in zip(TALK, carry(named, TALK), strict=True):
        may = (torch.isin(e.links.source, torch.tensor([1, 2]))) & (torch.arange(5).view(1, -1, 1) == 0)
        assert torch.equal(inbox.mask, may)


def test_a_list_narrows_the_graph() -> None:
    network = comms(S, [], [defense("authorize", S, links=[[1, 0], [3, 4]], unauthenticated=True)])
    for e, inbox in zip(TALK, carry(network, TALK), strict=True):
        to = torch.arange(5).view(1, -1, 1)
        assert torch.equal(inbox.mask, ((e.links.source == 1) & (to == 0)) | ((e.links.source == 3) & (to == 4)))


@pytest.mark.parametrize("epsilon", [0.1, 5.0, 1e30])
def test_payloads_are_bounded_per_link(epsilon: float) -> None:
    bounds = {"bound": 1.2, "bounds": [[1, 0, 1000.0]], "unauthenticated": True}
    network = comms(S, [attack("noise", S, epsilon=epsilon)], [defense("authorize", S, **bounds)])
    clean = comms(S, [], [defense("authorize", S, **bounds)])
    carry(clean, TALK)
    assert torch.equal(clean.ledger["accepted"], clean.ledger["sent"])
    for e, inbox in zip(TALK, carry(network, TALK), strict=True):
        most = torch.where((e.links.source == 1) & (torch.arange(5).view(1, -1, 1) == 0), 1000.0, 1.2)
        length = heard(inbox).double().norm(dim=-1) / S.width**0.5
        assert (length <= 1.02 * most).all()
    assert (network.ledger["refused"].sum() > 0) == (epsilon > 1)


def test_names_need_authentication() -> None:
    made = defense("authorize", S)
    assert "nothing authenticates" in (made.unmet(Deployment(S, "somewhere", defenses=(made,))) or "")
    forged = comms(S, [attack("impersonate", S, copies=2)], [defense("authorize", S, unauthenticated=True)])
    carry(forged, TALK)
    assert forged.ledger["accepted_forged"].any(), "a permitted name is enough where nobody checks it"
    delta = registry.find("codec", "delta")(registry.build_config("codec", "delta", {}), S)
    bounded = defense("authorize", S, bound=1.0, unauthenticated=True)
    assert "sends changes of payloads" in (bounded.unmet(Deployment(S, "x", codec=delta, defenses=(bounded,))) or "")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("authorize", {"links": [[0, 5]]}),
        ("authorize", {"bounds": [[7, 0, 1.0]]}),
        ("capability", {"grants": [[0, 9]]}),
        ("capability", {"rounds": [2]}),
    ],
)
def test_unknown_agents_and_rounds_are_named(name: str, arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"names (an agent outside 0 \.\. 4|a round outside 0 \.\. 1)"):
        defense(name, S, **arguments)
    with pytest.raises(ConfigError):
        defense("capability", S, lifetime=0)
