"""quota: floods are cut to a principal's rate, and nobody else pays for them."""

from __future__ import annotations

import pytest
import torch
from builders import Scripted, attack, comms, defense, forge, team_shape

from agentcomm.base.errors import RequirementError
from agentcomm.conformance.conversations import carry, conversation
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.edits import Envelopes, MessageEdits
from agentcomm.contracts.threat_model import Position
from agentcomm.contracts.views import MessageView

S = team_shape(worlds=4, agents=5, degree=3)
TALK = conversation(S, 10, closed=0, ends=0)


def honest(n) -> torch.Tensor:  # type: ignore[no-untyped-def]
    return n["accepted"] - n["accepted_forged"]


@pytest.mark.parametrize("by", ["sender", "link"])
@pytest.mark.parametrize("copies", [3, 16])
def test_a_flood_is_cut_to_the_rate_and_starves_nobody(by: str, copies: int) -> None:
    network = comms(S, [attack("flood", S, copies=copies)], [defense("quota", S, by=by, unauthenticated=True)])
    carry(network, TALK)
    n = network.ledger
    assert torch.equal(honest(n), n["sent"]), "honest senders are all heard"
    receivers, exchanges = S.num_agents, len(TALK)
    assert (n["accepted_forged"] <= receivers * (exchanges + 1)).all(), "one per exchange, and the burst"
    assert (n["accepted_forged"] >= receivers * exchanges).all(), "what is within the rate passes: its limit"
    assert torch.equal(n["refused"], n["forged"] - n["accepted_forged"])


def test_names_that_nobody_checks_starve_honest_senders() -> None:
    """Why it needs identity: the flood empties the buckets of those that it names."""
    flood = {"copies": 16, "named": True}
    starved = comms(S, [attack("flood", S, **flood)], [defense("quota", S, rate=0.5, burst=1, unauthenticated=True)])
    carry(starved, TALK)
    n = starved.ledger
    assert (n["accepted_forged"] > 0).all()
    by_name = int(honest(n).sum())
    guarded = comms(S, [attack("flood", S, **flood)], [defense("authenticate", S), defense("quota", S)])
    carry(guarded, TALK)
    assert torch.equal(guarded.ledger["accepted"], guarded.ledger["sent"])
    assert not guarded.ledger["accepted_forged"].any()
    assert by_name < int(n["sent"].sum())


def test_a_flooding_insider_gets_its_share_and_no_more() -> None:
    """It seals what it sends, so it is authentic; its colleagues keep their places in a small inbox."""

    def edits(view: MessageView) -> MessageEdits:
        one = forge(view, S, sender=1)
        fields = {
            n: getattr(one, n).repeat_interleave(12, 2)
            for n in Envelopes.__dataclass_fields__
            if n not in ("sign", "expiry", "hops")
        }
        fields["sequence"] = fields["sequence"] + 100 + torch.arange(12) * 1000
        return MessageEdits(inject=Envelopes(**fields, sign=True))

    node = Scripted(S, ["inject"], edits, Position(kind="node", node=1), injections=12)
    network = comms(S, [node], [defense("quota", S, rate=2.0, burst=4.0, depth=4, unauthenticated=True)])
    for e, inbox in zip(TALK, carry(network, TALK), strict=True):
        others = e.links.source != 1
        assert inbox.mask[..., : S.degree][others].all(), "colleagues come first in each round"
        assert (inbox.mask.sum(-1) <= 4).all(), "the inbox is bounded"
    assert network.ledger["accepted_forged"].any()


def test_tokens_fill_at_the_rate_up_to_the_burst() -> None:
    """A principal at half the rate: every second message passes, after the burst."""
    s = team_shape(worlds=1, agents=2, degree=1, rounds=1)
    talk = conversation(s, 12, closed=0, ends=0)
    network = comms(s, [], [defense("quota", s, rate=0.5, burst=3.0, unauthenticated=True)])
    heard = [bool(inbox.mask[0, 0, 0]) for inbox in carry(network, talk)]
    assert heard == [True, True, True, True, True, False, True, False, True, False, True, False]


def test_with_fewer_places_than_principals_all_get_their_turn() -> None:
    s = team_shape(worlds=1, agents=5, degree=2, rounds=1)

    def edits(view: MessageView) -> MessageEdits:
        one = forge(view, s)
        fields = {
            n: getattr(one, n).repeat_interleave(3, 2)
            for n in Envelopes.__dataclass_fields__
            if n not in ("sign", "expiry", "hops")
        }
        fields["sender"] = (fields["sender"] + torch.arange(3)) % 5
        return MessageEdits(inject=Envelopes(**fields))

    crowd = Scripted(s, ["inject"], edits, injections=3)
    network = comms(s, [crowd], [defense("quota", s, depth=2, rate=4.0, burst=4.0, unauthenticated=True)])
    talk = conversation(s, 20, closed=0, ends=0)
    served = torch.zeros(5, 5)
    for inbox, e in zip(carry(network, talk), talk, strict=True):
        assert (inbox.mask.sum(-1) <= 2).all()
        for receiver in range(5):
            slots = inbox.mask[0, receiver].nonzero().squeeze(1)
            served[receiver].index_add_(0, inbox.source[0, receiver, slots], torch.ones(len(slots)))
        assert e.step.max() < 20
    sent = served + torch.eye(5)
    assert (sent > 0).all(), "nobody is starved"


def test_what_it_needs() -> None:
    made = defense("quota", S, depth=2)
    here = Deployment(S, "somewhere", defenses=(made,))
    assert "depth=2 is less than the 3 links" in (made.unmet(here) or "")
    named, linked = defense("quota", S), defense("quota", S, by="link")
    assert "nothing authenticates" in (named.unmet(Deployment(S, "somewhere", defenses=(named,))) or "")
    assert linked.unmet(Deployment(S, "somewhere", defenses=(linked,))) is None
    both = (defense("authenticate", S), named)
    assert named.unmet(Deployment(S, "somewhere", defenses=both)) is None
    assert issubclass(RequirementError, Exception)
