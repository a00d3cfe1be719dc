"""Fragments are checked before they take up a buffer: what tags stop, with a key and without, and what trust does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import Attacked, attack, channel, comms, defense, team, team_shape, team_shape_of
from torch import Tensor

from agentcomm.base.errors import RequirementError
from agentcomm.conformance.conversations import carry, conversation, same_heard
from agentcomm.contracts.fragments import ENTRIES, ArrivingFragments
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.verdicts import Draws
from agentcomm.runs.assembly import make_comms
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.replay import reevaluate
from agentcomm.training.rollout import Sampler
from benchmarks.fragments import play

FOUR = ("early injection", "replayed header", "fake-data flood", "forged middle fragment")


def share(attack: str, defense: str) -> float:
    return play(attack, defense, seed=0, worlds=3, steps=30)[0]


def network(s: TeamShape, attacks: Any = (), loss: float = 0.0, mtu: int = 40, **arguments: Any) -> Attacked:
    slots = s.degree + sum(a.injections() for a in attacks)
    made = channel("fragments", s, slots, mtu=mtu, header=5, loss=loss)
    return comms(s, attacks, [defense("fragment_chain", s, **arguments)], channels=[made])


@pytest.mark.parametrize("attack", FOUR)
def test_a_keyed_chain_with_trust_keeps_delivery(attack: str) -> None:
    assert share(attack, "keyed + trust") >= 0.9


def test_a_chain_without_a_key_does_not_survive_early_injection() -> None:
    assert share("early injection", "unkeyed") < 0.05
    assert share("forged middle fragment", "unkeyed") > 0.9
    assert share("chained middle fragment", "unkeyed") < 0.5, "who reads the fragments before it makes the next tag"


def test_trust_alone_frames_honest_senders_for_forged_middle_fragments() -> None:
    none, trust = (share("forged middle fragment", chosen) for chosen in ("none", "trust only"))
    assert trust < 0.5 * none
    assert share("fake-data flood", "trust only") > share("fake-data flood", "none") + 0.3, "sent from its own address"


def test_nobody_can_stop_fragments_that_are_missing() -> None:
    assert share("missing fragment", "keyed + trust") <= share("missing fragment", "none")


class Luck(Draws):
    """The same number whatever is drawn."""

    def __init__(self, value: float) -> None:
        super().__init__(None, torch.device("cpu"), "fragment_chain")
        self.value = value

    def rand(self, *shape: int) -> Tensor:
        return torch.full(shape, self.value)


def arriving(count: int = 1, completed: int = 0, failed: int = 0, luck: float = 0.5) -> ArrivingFragments:
    """One message by agent 1 to agent 0 of two, and nothing else."""
    shape = (1, 2, 1, len(ENTRIES))
    message = torch.zeros(shape, dtype=torch.int64)
    message[0, 0, 0, ENTRIES.index("message")] = count
    book = torch.zeros(1, 2, 3, dtype=torch.int64)
    done, bad = book.clone(), book.clone()
    done[0, 0, 1], bad[0, 0, 1] = completed, failed
    sender, right = torch.ones_like(message), torch.ones(shape, dtype=torch.bool)
    return ArrivingFragments(book[:, 0, 0], 0, message, sender, right, right, done, bad, Luck(luck))


def test_trust_falls_fast_and_recovers_slowly() -> None:
    made = defense("fragment_chain", team_shape(worlds=1, agents=2, degree=1))
    memory = made.memory()
    refused = made.reassemble(arriving(), memory)
    assert refused is not None
    assert not refused.any()
    refused = made.reassemble(arriving(failed=1), memory)
    assert memory["trust"][0, 0].tolist() == [0.5, 0.25, 0.5]
    assert refused is not None
    assert refused[0, 0].all()
    assert not refused[0, 1].any(), "each receiver has its own experience"
    on_probation = made.reassemble(arriving(luck=0.01), memory)
    assert on_probation is not None
    assert not on_probation.any()
    made.reassemble(arriving(completed=2), memory)
    assert memory["trust"][0, 0, 1].item() == pytest.approx(1 - 0.75 * 0.95**2)
    made.reassemble(arriving(failed=9), memory)
    assert memory["trust"][0, 0, 1] == 0


@pytest.mark.parametrize(("form", "stopped"), [("tamper", True), ("replay", True), ("impersonate", True)])
def test_whole_messages_that_are_not_the_senders_are_refused(form: str, stopped: bool) -> None:
    s = team_shape(width=16)
    exchanges = conversation(s, 8, ends=0.0)
    for chain, refuses in (("keyed", stopped), ("unkeyed", False)):
        n = network(s, [attack(form, s)], chain=chain, trust=False)
        carry(n, exchanges)
        bad = n.ledger["accepted_forged"] + n.ledger["accepted_replayed"] + n.ledger["accepted_tampered"]
        assert bool(bad.any()) != refuses
        assert bool(n.ledger.refused_by["fragment_chain"].any()) == refuses
        gone = n.ledger["lost"] + n.ledger["refused"] + n.ledger["accepted"] + n.ledger["dropped"]
        put = n.ledger["sent"] + n.ledger["forged"] + n.ledger["replayed"]
        assert torch.equal(gone, put), "each message has one fate"


def test_tags_cost_bytes_in_every_fragment_and_clean_messages_pass() -> None:
    s = team_shape(width=16)
    exchanges = conversation(s, 4)
    plain = comms(s, channels=[channel("fragments", s, s.degree, mtu=40, header=5)])
    tagged, long = network(s, tag=4), network(s, tag=16)
    runs = [carry(n, exchanges) for n in (plain, tagged, long)]
    assert same_heard(runs[0], runs[1])
    assert same_heard(runs[0], runs[2])
    sent = plain.ledger["sent"]
    size = plain.ledger.bytes - 5 * sent * 3  # three packets of 35 bytes with a header each
    assert torch.equal(tagged.ledger.bytes, size + 9 * sent * 3), "31 bytes for data"
    assert (long.ledger.bytes > tagged.ledger.bytes + 12 * 3 * sent).all(), "and more fragments"


def test_a_restored_run_goes_on_alike() -> None:
    s = team_shape(width=16)
    exchanges = conversation(s, 10)
    made = [attack("fragment", s, how="missing", probability=0.4)]
    whole, half, again = (network(s, made, loss=0.1) for _ in range(3))
    inboxes = carry(whole, exchanges)
    carry(half, exchanges[:10])
    again.keyring = half.keyring
    again.restore(half.snapshot())
    assert same_heard(inboxes[10:], carry(again, exchanges[10:]))


def test_it_is_refused_where_it_cannot_work() -> None:
    world, policy = team()
    fragmented = TransportConfig.model_validate({"channels": [{"name": "fragments", "mtu": 20, "header": 5}]})
    for arguments, transport, reason in (
        ({}, TransportConfig(), "no channel fragments messages"),
        ({"tag": 16}, fragmented, "tags of 16 bytes do not fit into fragments with 15 bytes for data"),
        ({"chain": "none", "trust": False}, fragmented, "it does nothing"),
        ({"chain": "none"}, fragmented, "lets an attacker frame honest senders"),
        ({"chain": "unkeyed"}, fragmented, "unauthenticated=true"),
    ):
        choice = Choice.model_validate({"name": "fragment_chain", **arguments})
        with pytest.raises(RequirementError, match=reason):
            make_comms(world, policy, [], [choice], transport=transport)
    choice = Choice.model_validate({"name": "fragment_chain", "chain": "none", "unauthenticated": True})
    make_comms(world, policy, [], [choice], transport=fragmented)


def test_training_replays_what_was_refused() -> None:
    world, policy = team()
    s = team_shape_of(world, policy)
    n = network(s, [attack("fragment", s, how="missing", probability=0.5)])
    fragment = Sampler(world, policy, n, PPOSettings(held_out=0.25), 0).collect(8)
    assert fragment.messages["lost"] > 0
    again = reevaluate(policy, fragment.columns).log_probability.detach()
    assert float((again - fragment.columns["log_probability"]).abs().max()) < 1e-5
