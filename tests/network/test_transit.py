"""What takes longer arrives when it is due, as it was sent; what is overtaken or cut off is counted late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from builders import Attacked, Scripted, comms, forge, team_shape
from torch import Tensor

from agentcomm.conformance.conversations import Exchange, carry, conversation
from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.traffic import HEADER, HOPS, LIFETIME
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.contracts.views import MessageView

STEP = 0.1
Rule = Callable[[ChannelInput], Tensor]


class Slow(Channel):
    """Messages take as many steps as the rule says."""

    name = "slow"

    def __init__(self, s: TeamShape, slots: int, rule: Rule) -> None:
        super().__init__(ChannelConfig(), s, slots)
        self.rule = rule

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        return ChannelEffect(
            seconds=(self.rule(entering) * STEP).float() * entering.present, hops=2 * entering.present.long()
        )


class Witness(Defense):
    """Keeps what arrived."""

    name, order = "witness", "schema"

    def __init__(self, s: TeamShape) -> None:
        super().__init__(DefenseConfig(), s)
        self.saw: list[Delivered] = []

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        self.saw.append(delivered)
        return Verdicts()


def of_step(steps: dict[int, int]) -> Rule:
    """Messages sent in those steps take as long as it says, others no time."""

    def rule(entering: ChannelInput) -> Tensor:
        taken = torch.zeros_like(entering.size)
        for step, value in steps.items():
            taken = torch.where(entering.step.view(-1, 1, 1) == step, value, taken)
        return taken

    return rule


def slow(s: TeamShape, rule: Rule) -> tuple[Attacked, Witness]:
    witness = Witness(s)
    return comms(s, [], [witness], channels=[Slow(s, s.degree, rule)], step_seconds=STEP), witness


def steady(s: TeamShape, steps: int, seed: int = 0) -> list[Exchange]:
    return conversation(s, steps, seed=seed, closed=0, ends=0)


@pytest.mark.parametrize("steps", [1, 2, 7, LIFETIME])
def test_messages_arrive_when_due_with_their_own_header_and_payload(steps: int) -> None:
    """In the same exchange of a later step, from whom they came then, although the graph has changed."""
    s = team_shape(rounds=2)
    exchanges = steady(s, LIFETIME + 6)
    network, witness = slow(s, lambda entering: torch.full_like(entering.size, steps))
    now = Witness(s)
    carry(comms(s, [], [now]), exchanges)
    inboxes = carry(network, exchanges)
    for number, (e, inbox, arrived) in enumerate(zip(exchanges, inboxes, witness.saw, strict=True)):
        sent = number - steps * s.rounds
        assert inbox.mask.all() if sent >= 0 else not inbox.mask.any()
        if sent < 0:
            continue
        then, was = exchanges[sent], now.saw[sent]._traffic
        for name in ("source", "origin", *HEADER):
            expected = getattr(was, name) - (2 if name == "hops" else 0)
            assert torch.equal(getattr(arrived._traffic, name), expected), name
        assert (arrived.hops == HOPS - 2).all()
        assert (arrived.sent_at == e.step.view(-1, 1, 1) - steps).all()
        assert then.round == e.round
        said = torch.stack([then.spoken[b][then.links.source[b]] for b in range(s.num_worlds)])
        assert torch.equal(inbox.payload(), said)
    assert torch.equal(network.ledger.steps, steps * network.ledger["accepted"])


def test_longer_than_messages_live_is_late() -> None:
    for much in (LIFETIME + 1, 10**9, 1e30):
        s = team_shape(rounds=1)
        network, _ = slow(s, lambda entering, much=much: torch.full(entering.size.shape, much))  # type: ignore[misc]
        inboxes = carry(network, steady(s, 2 * LIFETIME))
        assert not any(i.mask.any() for i in inboxes)
        assert torch.equal(network.ledger["late"], network.ledger["sent"])


@pytest.mark.parametrize("step_seconds", [0.1, 0.02, 0.3, 1 / 30, 0.001])
def test_whole_steps_are_whole_in_spite_of_rounding(step_seconds: float) -> None:
    s = team_shape(worlds=1, agents=2, degree=1, rounds=1)
    for steps in range(1, LIFETIME + 1):
        for parts in (1, steps):
            # A slow channel counts in tenths of a second.
            each = steps * step_seconds / parts / STEP
            channels = [Slow(s, 1, lambda p, each=each: torch.full(p.size.shape, each)) for _ in range(parts)]  # type: ignore[misc]
            network = comms(s, channels=channels, step_seconds=step_seconds)
            heard = [bool(i.mask.any()) for i in carry(network, steady(s, steps + 1))]
            assert heard.index(True) == steps


def test_the_newest_wins_and_the_others_are_late() -> None:
    """Sent in steps 0, 1 and 2 for step 2 or 3."""
    s = team_shape(rounds=1)
    every = s.num_agents * s.degree
    exchanges = steady(s, 6)

    def heard(steps: dict[int, int]) -> tuple[list[list[int]], int]:
        network, witness = slow(s, of_step(steps))
        carry(network, exchanges)
        assert network.link is not None
        assert not network.link.transit.waiting.any()
        ages = [sorted({int(x) for x in d.sent_at[d.present]}) for d in witness.saw]
        late = network.ledger["late"]
        assert torch.equal(network.ledger["sent"], network.ledger["accepted"] + late)
        assert (late % every == 0).all()
        return ages, int(late[0]) // every

    assert heard({0: 2}) == ([[], [1], [2], [3], [4], [5]], 1)  # overtaken by what is sent then
    assert heard({0: 3, 1: 2, 2: 1}) == ([[], [], [], [3], [4], [5]], 3)
    assert heard({0: 2, 1: 1, 2: 1}) == ([[], [], [1], [3], [4], [5]], 2)
    assert heard({0: 3, 1: 1}) == ([[], [], [2], [3], [4], [5]], 2)


@pytest.mark.parametrize("listening", [True, False])
def test_an_old_message_may_arrive_after_a_newer_one(listening: bool) -> None:
    """Both are heard: who cares for order looks at sequence numbers. Whose gate is shut hears neither."""
    s = team_shape(rounds=1)
    exchanges = []
    for number, e in enumerate(steady(s, 4)):
        speaking = torch.full(e.links.source.shape, number < 2)
        open_ = e.links.open & (listening or number < 2)
        exchanges.append(replace(e, links=e.links._replace(open=open_, carried=speaking)))
    network, witness = slow(s, of_step({0: 3, 1: 1}))
    carry(network, exchanges)
    heard = [set(d.sent_at[d.present].tolist()) for d in witness.saw]
    assert heard == ([set(), set(), {1}, {0}] if listening else [set()] * 4)
    assert network.ledger["refused"].tolist() == [0 if listening else 2 * s.num_agents * s.degree] * 3
    assert not network.ledger["late"].any()


def test_nothing_crosses_an_episodes_end() -> None:
    s = team_shape(worlds=6, rounds=2)
    exchanges = conversation(s, 60, closed=0, ends=0.2)
    network, witness = slow(s, lambda entering: (entering.receiver + entering.step.view(-1, 1, 1)) % 5)
    cut = torch.zeros(s.num_worlds, dtype=torch.int64)
    assert network.link is not None
    for e in exchanges:
        inbox = network.exchange(e.spoken, e.links, e.step, e.round)
        d = witness.saw[-1]
        age = (e.step.view(-1, 1, 1) - d.sent_at)[d.present]
        assert ((age >= 0) & (age <= 4)).all()
        assert (d.sent_at[d.present] >= 0).all()
        young = e.step == 0
        here = inbox.mask & (d.sent_at == 0)
        assert torch.equal(here[young], inbox.mask[young])
        if len(e.ended):
            waiting = network.link.transit.waiting
            before = network.ledger["late"].clone()
            network.reset(e.ended)
            cut[e.ended] += waiting[e.ended]
            assert torch.equal((network.ledger["late"] - before)[e.ended], waiting[e.ended])
            assert not network.link.transit.waiting[e.ended].any()
    assert cut.sum() > 0
    n = network.ledger
    assert torch.equal(n["sent"], n["late"] + n["accepted"] + network.link.transit.waiting)


def test_exchanges_of_a_step_do_not_mix() -> None:
    s = team_shape(rounds=3)
    network, witness = slow(s, lambda entering: torch.full_like(entering.size, entering.round))
    carry(network, steady(s, 8))
    for number, d in enumerate(witness.saw):
        step, kind = divmod(number, 3)
        assert d.present.all() if step >= kind else not d.present.any()
        assert (d.sent_round == kind)[d.present].all()
        assert (d.sent_at == step - kind)[d.present].all()


def test_what_is_due_in_an_exchange_that_does_not_take_place_is_late() -> None:
    """Teams that act in turns have more exchanges in some steps than in others."""
    s = team_shape(rounds=2)
    network, witness = slow(s, of_step({0: 2}))
    skipped = [e for e in steady(s, 2 * LIFETIME + 4) if not (e.round == 1 and e.step[0] == 2)]
    silent = [
        replace(e, links=e.links._replace(carried=torch.full(e.links.source.shape, bool(e.step[0] == 0))))
        for e in skipped
    ]
    carry(network, silent)
    heard = [(int(d.step[0]), d.round) for d in witness.saw if d.present.any()]
    assert heard == [(2, 0)]
    assert torch.equal(network.ledger["late"] * 2, network.ledger["sent"])


def test_late_messages_for_receivers_whose_turn_it_is_not_are_turned_away() -> None:
    s = team_shape(rounds=1)
    network, _ = slow(s, of_step({0: 1}))
    first, second = steady(s, 2)
    network.exchange(first.spoken, first.links._replace(due=torch.ones(3, 4, dtype=torch.bool)), first.step, 0)
    due = torch.arange(4).expand(3, -1) == 2
    silent = torch.zeros_like(second.links.source, dtype=torch.bool)
    inbox = network.exchange(second.spoken, second.links._replace(due=due, carried=silent), second.step, 0)
    assert torch.equal(inbox.mask, due.unsqueeze(-1).expand_as(inbox.mask))
    assert network.ledger.refused_by["gate"].tolist() == [6, 6, 6]


def test_forged_and_tampered_messages_keep_their_mark_on_the_way() -> None:
    s = team_shape(rounds=1)

    only_first = False

    def edits(view: MessageView) -> MessageEdits:
        if only_first and not bool((view.step == 0).all()):
            return MessageEdits()
        inject = forge(view, s, sent_at=-1000)
        return MessageEdits(modify=view.reach, change=torch.ones(*view.reach.shape, s.width), inject=inject)

    attack = Scripted(s, ["modify", "inject"], edits)
    network = comms(s, [attack], channels=[Slow(s, s.degree + 1, of_step({0: 3, 1: 2, 2: 1}))], step_seconds=STEP)
    exchanges = steady(s, 4)
    inboxes = carry(network, exchanges)
    assert not any(i.mask.any() for i in inboxes[:3])
    n, every = network.ledger, s.num_agents * s.degree
    assert n["accepted_forged"].tolist() == [s.num_agents] * 3
    assert n["accepted_tampered"].tolist() == [every] * 3
    assert n["late"].tolist() == [3 * (every + s.num_agents)] * 3
    # How long they took is what the channel did, whatever they claim.
    assert not n.steps.any()

    delayed = comms(s, [attack], channels=[Slow(s, s.degree + 1, of_step({0: 3}))], step_seconds=STEP)
    silent = [
        exchanges[0],
        *(
            replace(e, links=e.links._replace(carried=torch.zeros_like(e.links.source, dtype=torch.bool)))
            for e in exchanges[1:]
        ),
    ]
    only_first = True
    heard = carry(delayed, silent)[3]
    assert heard.mask.all()
    assert delayed.ledger.steps.tolist() == [3 * (every + s.num_agents)] * 3
    assert delayed.ledger["accepted_forged"].tolist() == [s.num_agents] * 3
    assert delayed.ledger["accepted_tampered"].tolist() == [every] * 3
    assert delayed.ledger.seconds.tolist() == pytest.approx([0.3 * (every + s.num_agents)] * 3, rel=1e-6)


def test_saved_and_restored_on_the_way() -> None:
    s = team_shape()
    rule: Rule = lambda entering: (entering.receiver + entering.step.view(-1, 1, 1)) % 4  # noqa: E731
    first, saw = slow(s, rule)
    other, seen = slow(s, rule)
    exchanges = conversation(s, 16, seed=1)
    carry(first, exchanges[:15])
    carry(other, conversation(s, 6, seed=2))
    saved = first.snapshot()
    carry(first, exchanges[15:])
    other.restore(saved)
    carry(other, exchanges[15:])
    rest = len(exchanges) - 15
    for a, b in zip(saw.saw[-rest:], seen.saw[-rest:], strict=True):
        assert torch.equal(a.present, b.present)
        for name in ("sender", "sent_at", "sequence", "payload"):
            assert torch.equal(getattr(a, name)[a.present], getattr(b, name)[b.present])
    assert torch.equal(first.ledger.messages, other.ledger.messages)
