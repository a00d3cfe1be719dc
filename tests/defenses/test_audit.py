"""audit: whose key has sealed it is answerable, and nobody can rewrite its log unseen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from builders import Attacked, attack, comms, defense, team_shape

from agentcomm.conformance.conversations import carry, conversation, same_heard
from agentcomm.contracts.attack import Attack
from agentcomm.defenses.audit import extend, first_broken
from agentcomm.evaluation.attribution import Attribution, Auditor

S = team_shape(worlds=8, agents=4, degree=3)
TALK = conversation(S, 8, closed=0, ends=0)


def verdict(made: Attack, defenses: list[str], transport: str = "batch") -> Attribution:
    network, auditor = comms(S, [made], [defense(n, S) for n in defenses], transport=transport), Auditor(8, 4)
    network.network.trace = []
    carry(network, TALK[:4])
    for record in network.network.trace:
        auditor.read(record, np.ones(8, bool))
    return auditor.verdict()


@pytest.mark.parametrize(("share", "transport"), [(0.0, "batch"), (0.5, "batch"), (1.0, "batch"), (0.5, "objects")])
def test_evaders_are_named(share: float, transport: str) -> None:
    """Under colleagues' names, but sealed with its own key, as it has no other."""
    by_name = verdict(attack("evade", S, node=1, share=share, scapegoat=3), [])
    if share in (0.0, 1.0):
        assert by_name.accuracy == 1 - share
    audited = verdict(attack("evade", S, node=1, share=share, scapegoat=3), ["audit"], transport)
    assert (audited.attributed == 1).all()
    assert audited.accuracy == 1
    assert audited.covered == 1


@pytest.mark.parametrize("form", ["noise", "impersonate"])
def test_what_happens_on_the_path_is_no_agents_fault(form: str) -> None:
    """A message that is changed on its way names its honest sender, and has no valid seal."""
    by_name, audited = verdict(attack(form, S), []), verdict(attack(form, S), ["audit"])
    if form == "impersonate":
        assert by_name.accuracy == 0
        assert (audited.attributed == S.num_agents).all()
        assert audited.accuracy == 1
    else:
        assert (audited.attributed == S.num_agents).all(), "the path, not the sender"


def test_a_compromised_agent_is_named_for_its_own_lies() -> None:
    audited = verdict(attack("noise", S, position="node", node=2), ["audit"])
    assert (audited.attributed == 2).all()


def test_nothing_is_refused_and_the_head_is_paid_for() -> None:
    plain, logged = comms(S, [], [defense("authenticate", S)]), comms(S, [], [defense("audit", S)])
    assert same_heard(carry(plain, TALK), carry(logged, TALK))
    assert defense("audit", S).message_bytes == 36
    assert torch.equal(logged.ledger.bytes - plain.ledger.bytes, 36 * plain.ledger["sent"])
    assert not logged.ledger["refused"].any()


def logged(steps: int = 16) -> tuple[Attacked, dict[str, torch.Tensor]]:
    network = comms(S, [], [defense("audit", S)])
    carry(network, TALK[:steps])
    return network, network.network.memories[0].tensors


def test_logs_are_chains() -> None:
    _, log = logged()
    assert (first_broken(log["heads"], log["entries"]) == 32).all()
    assert (log["entries"][..., -16:] != 0).all()
    assert (log["entries"][..., :-16] == 0).all()


@pytest.mark.parametrize("at", [16, 20, 31])
def test_an_entry_cannot_be_changed_or_removed(at: int) -> None:
    _, log = logged()
    changed = log["entries"].clone()
    changed[0, 1, at] += 1
    found = first_broken(log["heads"], changed)
    assert found[0, 1] == at
    assert int((found == 32).sum()) == found.numel() - 1
    removed = log["entries"].clone()
    removed[0, 1, at:] = torch.cat([log["entries"][0, 1, at + 1 :], removed.new_zeros(1)])
    assert first_broken(log["heads"], removed)[0, 1] == at


def test_a_rewritten_chain_contradicts_its_witnesses() -> None:
    """Agent 1 removes an entry and hashes again from there: its own chain holds, but others have seen its heads."""
    network, log = logged(14)
    seen = torch.cat([log["heads"][:, :, i] for i in range(33)], -1)  # all heads that there have ever been
    carry(network, TALK[14:])
    entries, heads = log["entries"].clone(), log["heads"].clone()
    entries[0, 1, 20] = 0
    for i in range(20, 32):
        heads[0, 1, i + 1] = extend(heads[0, 1, i], entries[0, 1, i])
    assert first_broken(heads, entries)[0, 1] == 32
    witnessed = log["witnessed"][0, [0, 2, 3], 1]
    assert torch.isin(witnessed, log["heads"][0, 1]).all()
    assert not torch.isin(witnessed, heads[0, 1]).any()
    assert seen.numel() > 0


def test_transports_name_the_same() -> None:
    names = []
    for transport in ("batch", "objects"):
        network = comms(S, [attack("evade", S, node=1), attack("noise", S)], [defense("audit", S)], transport=transport)
        network.network.trace = []
        carry(network, TALK[:3])
        names.append([r.answerable["audit"][r.fields["fate"] > 0] for r in network.network.trace])
    assert all(np.array_equal(a, b) for a, b in zip(*names, strict=True))
