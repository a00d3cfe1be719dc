"""constant_rate and padding: observers of times, directions and sizes learn nothing; receivers never see a dummy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import (
    Attacked,
    Scripted,
    attack,
    comms,
    defense,
    known_channel,
    same_inbox,
    sampler,
    team,
    team_shape,
    team_shape_of,
)
from torch import Tensor

from agentcomm.base import registry
from agentcomm.base.errors import HookError
from agentcomm.base.seeds import derive
from agentcomm.conformance.conversations import carry, conversation, reader, same_heard
from agentcomm.contracts.codec import Codec
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.evaluation.leakage import Intercepted, listen
from agentcomm.evaluation.play import play
from agentcomm.network.stages.covering import dummy_payload

S = team_shape(agents=5, degree=3)
TALK = conversation(S, 10, closed=0.4)
BOTH = ["padding", "constant_rate"]


def made(names: list[str], attacks: list[Any] | None = None, **more: Any) -> Attacked:
    return comms(S, attacks or [], [defense(name, S) for name in names], **more)


def test_receivers_get_the_same_and_the_wire_carries_more() -> None:
    plain, covered = made([]), made(["constant_rate"])
    assert same_heard(carry(plain, TALK), carry(covered, TALK))
    one, other = plain.ledger, covered.ledger
    assert torch.equal(one["sent"], other["sent"])
    assert torch.equal(one["accepted"], other["accepted"])
    assert not other["refused"].any(), "dummies are no messages that anybody refuses"
    links = S.num_agents * S.degree * len(TALK)
    share = one.bytes.double() / one["sent"]
    torch.testing.assert_close(other.bytes.double(), share * links, rtol=0.02, atol=0)


def test_without_attacks_inboxes_are_the_same_bit_for_bit() -> None:
    pairs = zip(carry(made([]), TALK), carry(made(BOTH), TALK), strict=True)
    assert all(same_inbox(a, b) for a, b in pairs), "policies, gradients and recordings see no trace of dummies"


def test_transports_agree_on_dummies_under_attack() -> None:
    books = []
    for transport in ("batch", "objects"):
        network = made(["authenticate", *BOTH], [attack("noise", S, probability=0.5)], transport=transport)
        inboxes = carry(network, TALK[:4])
        books.append((network.ledger.messages, network.ledger.bytes, torch.stack([i.mask.sum() for i in inboxes])))
        assert int(network.ledger["accepted"].sum()) > 0
    assert all(torch.equal(a, b) for a, b in zip(*books, strict=True))


class Observed:
    """What an observer of all links sees in each exchange: who sends to whom."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []
        self.tap = Scripted(S, ["read"], self._look)

    def _look(self, view: Any) -> MessageEdits:
        self.seen.append(view.reach[..., : S.degree].clone())
        return MessageEdits()


def test_every_link_carries_something_in_every_exchange() -> None:
    open_, covered = Observed(), Observed()
    carry(made([], [open_.tap]), TALK)
    carry(made(["constant_rate"], [covered.tap]), TALK)
    assert not torch.stack(open_.seen).all()
    assert torch.stack(covered.seen).all()


@pytest.mark.parametrize("name", ["delay jitter", "relay", "bursts", "fragments"])
def test_dummies_that_are_late_or_lost_reach_nobody(name: str) -> None:
    network = made(["constant_rate"], channels=[known_channel(name, S, S.degree)], seed=4)
    word = dummy_payload(S.width, S.device)
    for inbox in carry(network, TALK):
        assert not ((inbox.payload() == word).all(-1) & inbox.mask).any()
    assert int(network.ledger["accepted"].sum()) > 0
    assert (network.ledger["accepted"] <= network.ledger["sent"]).all()


def test_copies_of_dummies_are_dummies() -> None:
    network = made(["constant_rate"], [attack("replay", S, age=1, suppress=False)])
    word = dummy_payload(S.width, S.device)
    for inbox in carry(network, TALK):
        assert not ((inbox.payload() == word).all(-1) & inbox.mask).any()
    assert int(network.ledger["replayed"].sum()) > int(network.ledger["sent"].sum() * 0.5)


def test_a_changed_dummy_is_heard_only_where_somebody_listens() -> None:
    """Without seals it has become a message; behind a closed gate it is refused all the same."""
    network = made(["constant_rate"], [attack("noise", S)])
    for e, inbox in zip(TALK, carry(network, TALK), strict=True):
        assert not inbox.mask[~e.links.open].any()
    sealed = made(["authenticate", "constant_rate"], [attack("noise", S)])
    assert not any(inbox.mask.any() for inbox in carry(sealed, TALK))


def test_attacks_waste_their_budget_on_dummies() -> None:
    """An attack on the wire cannot tell them apart, so part of what it drops is nothing."""
    few = {"per_step": 3}
    counts = []
    for names in ([], ["constant_rate"]):
        network = made(names, [attack("drop", S, probability=0.5, budget=few)])
        carry(network, TALK)
        n = network.ledger
        counts.append(int((n["sent"] - n["accepted"]).sum()))
    assert counts[1] < counts[0]


# ---- what an observer can infer


def intercepted(names: list[str], codec: Codec | None = None, **policy: Any) -> Intercepted:
    """What an eavesdropper records of a gated team whose gates depend on what agents see."""
    world, built = team(24, gate={"initial_logit": 0.0}, **policy)
    s = team_shape_of(world, built)
    made_ = comms(s, [attack("eavesdrop", s)], [defense(name, s) for name in names], codec=codec)
    generator = torch.Generator().manual_seed(derive(1, "decisions"))
    return listen(world, made_, lambda follow: play(world, built, made_, 1, generator=generator, follow=follow))


def told(heard: Intercepted) -> Tensor:
    """[F] how much each size differs between episodes, for the same agent and step."""
    group = heard.agent * (int(heard.step.max()) + 1) + heard.step
    count = torch.zeros(int(group.max()) + 1).index_add_(0, group, torch.ones(len(group)))
    mean = torch.zeros(len(count), heard.sizes.shape[1]).index_add_(0, group, heard.sizes) / count.clamp(
        min=1
    ).unsqueeze(1)
    return (heard.sizes - mean[group]).abs().amax(0)


def test_sizes_and_silence_tell_nothing_any_more() -> None:
    """Given agent and step, bytes to and from an agent are the same in every episode: I(gate; bytes) = 0."""
    assert (told(intercepted([])) > 100).all(), "closed gates show in the bytes"
    assert (told(intercepted(["constant_rate"])) == 0).all()


def test_a_codec_needs_padding_as_well() -> None:
    world, built = team(2)
    s = team_shape_of(world, built)

    def encoded() -> Codec:
        shape = team_shape(24, s.num_agents, s.degree, s.width, s.rounds)
        return registry.find("codec", "fedzip")(registry.build_config("codec", "fedzip", {}), shape)

    assert (told(intercepted(["constant_rate"], encoded())) > 0).any(), "sizes of encoded payloads differ"
    assert (told(intercepted(BOTH, encoded())) == 0).all()


# ---- padding


@pytest.mark.parametrize("bucket", [1, 64, 1000])
def test_sizes_are_multiples_of_the_bucket(bucket: int) -> None:
    network = comms(S, [attack("flood", S, copies=2)], [defense("padding", S, bucket=bucket)])
    network.network.trace = []
    carry(network, TALK[:4])
    plain = comms(S, [attack("flood", S, copies=2)])
    plain.network.trace = []
    carry(plain, TALK[:4])
    for record, before in zip(network.network.trace, plain.network.trace, strict=True):
        own = record.fields["origin"] < S.num_agents
        there = (record.fields["fate"] > 0) & own
        size, was = record.fields["size"][there], before.fields["size"][there]
        assert (size % bucket == 0).all()
        assert ((size >= was) & (size < was + bucket)).all()
        forged = (record.fields["fate"] > 0) & ~own
        assert (record.fields["size"][forged] == before.fields["size"][forged]).all(), "attackers pad nothing"
    total = sum(int((r.fields["size"] * (r.fields["fate"] > 0)).sum()) for r in network.network.trace)
    assert total == int(network.ledger.bytes.sum()), "the ledger counts what is on the wire"


def test_padding_that_shortens_is_refused() -> None:
    class Shorten(Defense):
        order = "schema"

        def pad(self, size: Tensor) -> Tensor:
            return size - 1

    with pytest.raises(HookError, match="defense 'shorten': pad makes messages shorter; it can only add bytes"):
        carry(comms(S, [], [Shorten(DefenseConfig(), S)]), TALK[:1])


def test_rollouts_are_bit_identical_under_cover() -> None:
    columns = []
    for form in ("none", "constant_rate"):
        world, policy = team(16, gate={"initial_logit": 0.0})
        collected = sampler(world, policy, None, form).collect(8)
        columns.append([value for _, value in sorted(collected.columns.items())])
    assert all(torch.equal(a, b) for a, b in zip(*columns, strict=True))


def test_an_attack_that_knows_the_policy_expects_that_dummies_are_discarded() -> None:
    """With an empty change, it predicts what the team would do without dummies."""

    class Knows(Scripted):
        def threat_model(self) -> ThreatModel:
            return ThreatModel(Position(kind="edge"), frozenset({"read", "modify"}), "policy", self.config.budget)

    predicted: dict[str, list[Tensor]] = {"": [], "constant_rate": []}
    for names, out in predicted.items():

        def edits(view: Any, out: list[Tensor] = out) -> MessageEdits:
            out.append(view.predict_logits(torch.zeros(*view.reach.shape, S.width)))
            return MessageEdits()

        network = made([names] if names else [], [Knows(S, ["read", "modify"], edits)])
        for e in TALK:
            network.exchange(e.spoken, e.links, e.step, e.round, reader)
    for plain, covered in zip(*predicted.values(), strict=True):
        torch.testing.assert_close(plain, covered, rtol=0, atol=1e-5)
