"""Attacks that ask for more than their threat model allows: each is stopped, and counted under the rule it broke."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import Scripted, comms, defense, forge, same_inbox
from guarded import HEADER, MASKS, NEWCOMER, S, attacked, clean, everything, ring
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agentcomm.base.errors import HookError, NumberError, ThreatModelError
from agentcomm.conformance.conversations import carry, conversation, heard, same_heard
from agentcomm.contracts.edits import Envelopes, MessageEdits
from agentcomm.contracts.threat_model import Budget, Position
from agentcomm.contracts.views import MessageView

# ---- reading


def test_without_the_power_to_read_nothing_is_shown() -> None:
    seen: list[MessageView] = []

    def look(view: MessageView) -> MessageEdits:
        seen.append(view)
        return MessageEdits()

    attacked(Scripted(S, ["drop", "modify", "inject"], look))
    for name in ("payload", *HEADER):
        assert not seen[0].shows(name)
        with pytest.raises(ThreatModelError, match=f"'scripted' reads view.{name}, which requires the power 'read'"):
            getattr(seen[0], name)


def test_other_links_are_blank() -> None:
    seen: list[MessageView] = []

    def look(view: MessageView) -> MessageEdits:
        seen.append(view)
        return MessageEdits()

    e = ring()
    attacked(Scripted(S, ["read"], look, Position(kind="edge", links=((2, 1),))), e, seals=True)
    view = seen[0]
    mine = torch.zeros(MASKS, dtype=torch.bool)
    mine[:, 1, 0] = True  # receiver 1 hears 2 in its first slot
    assert torch.equal(view.reach, mine)
    assert torch.equal(view.payload[mine], e.spoken[:, 2])
    assert not view.payload[~mine].any()
    for name in HEADER:
        assert (getattr(view, name)[~mine] == -1).all(), name
    assert (view.sender[mine] == 2).all()


def test_a_node_sees_its_own_messages_before_they_are_sealed_and_a_newcomer_none() -> None:
    seen: list[MessageView] = []

    def look(view: MessageView) -> MessageEdits:
        seen.append(view)
        return MessageEdits()

    attacked(Scripted(S, ["read"], look, Position(kind="node", node=3)), seals=True)
    attacked(Scripted(S, ["read"], look, NEWCOMER), seals=True)
    node, newcomer = seen
    assert node.sender is not None
    assert node.seal is not None
    assert (node.sender[node.reach] == 3).all()
    assert not node.seal[node.reach].any()
    assert not newcomer.reach.any()
    assert (node.identity, newcomer.identity) == (3, S.num_agents)


def test_the_true_origin_is_never_shown() -> None:
    assert "origin" not in MessageView.__dataclass_fields__
    assert "origin" not in Envelopes.__dataclass_fields__


def test_scribbling_on_the_view_changes_nothing() -> None:
    def scribble(view: MessageView) -> MessageEdits:
        for name in ("payload", *HEADER, "step", "remaining"):
            getattr(view, name).fill_(7)
        view.reach.fill_(True)
        return MessageEdits()

    e = ring()
    attack = Scripted(S, ["read", "modify"], scribble, budget=Budget(per_step=1))
    network, inbox = attacked(attack, e)
    assert same_inbox(inbox, clean(e))
    assert (e.step == 0).all()
    assert not network.guards[0].violations


# ---- powers and reach

POWERS: dict[str, Callable[[MessageView], MessageEdits]] = {
    "drop": lambda v: MessageEdits(drop=torch.ones_like(v.reach)),
    "modify": lambda v: MessageEdits(modify=torch.ones_like(v.reach), change=torch.ones(*v.reach.shape, S.width)),
    "inject": lambda v: MessageEdits(inject=forge(v, S)),
}


@pytest.mark.parametrize("power", POWERS)
def test_what_it_has_no_power_to_is_not_done(power: str) -> None:
    others: Any = {"read", "drop", "modify", "inject"} - {power}
    network, inbox = attacked(Scripted(S, others, POWERS[power]))
    assert same_inbox(inbox, clean())
    wanted = S.num_worlds * S.num_agents * (1 if power == "inject" else S.degree + 1)
    assert network.guards[0].violations == {f"{power} without the power to": wanted}
    assert not network.guards[0].spent.any()


@pytest.mark.parametrize("power", POWERS)
def test_an_observer_touches_nothing_whatever_powers_it_claims(power: str) -> None:
    every: Any = ["read", "drop", "modify", "inject"]
    network, inbox = attacked(Scripted(S, every, POWERS[power], Position(kind="observer")))
    assert same_inbox(inbox, clean())
    assert list(network.guards[0].violations) == [f"{power} as an observer"]


@pytest.mark.parametrize("position", [Position(kind="edge", links=((2, 1),)), Position(kind="node", node=2), NEWCOMER])
@pytest.mark.parametrize("power", ["drop", "modify"])
def test_out_of_reach_is_not_done(position: Position, power: str) -> None:
    network, inbox = attacked(Scripted(S, [power], POWERS[power], position))  # type: ignore[list-item]
    untouched = clean()
    reach = untouched.source == 2
    if position.kind == "edge":
        reach = reach & (torch.arange(S.num_agents).view(1, -1, 1) == 1)
    if position.kind == "newcomer":
        reach = torch.zeros_like(reach)
    if power == "drop":
        assert torch.equal(inbox.mask, ~reach)
    else:
        changed = (inbox.payload() != untouched.payload()).any(-1)
        assert torch.equal(changed, reach)
    wanted = S.num_worlds * S.num_agents * (S.degree + 1)
    assert network.guards[0].violations == {f"{power} out of reach": wanted - int(reach.sum())}


def test_injecting_onto_other_links_is_not_done() -> None:
    position = Position(kind="edge", links=((2, 1),))
    network, inbox = attacked(Scripted(S, ["inject"], lambda v: MessageEdits(inject=forge(v, S)), position))
    forged = inbox.mask[..., S.degree]
    assert forged.nonzero()[:, 1].unique().tolist() == [1], "forge claims the right-hand neighbor"
    assert network.guards[0].violations == {"inject out of reach": 3 * S.num_worlds}


@pytest.mark.parametrize("sender", [-1, 5, 10**12])
def test_names_that_nobody_has_are_not_written(sender: int) -> None:
    network, inbox = attacked(
        Scripted(S, ["inject"], lambda v: MessageEdits(inject=forge(v, S, sender=sender)), NEWCOMER)
    )
    assert same_inbox(inbox, clean())
    assert list(network.guards[0].violations) == ["inject from an unknown sender"]


# ---- norm, budget, start


@given(norm=st.floats(0, 3, width=32), scale=st.floats(0, 10, width=32), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_norm_is_never_exceeded(norm: float, scale: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    change = scale * torch.randn(*MASKS, S.width, generator=g)

    def edits(view: MessageView) -> MessageEdits:
        return MessageEdits(modify=view.reach, change=change)

    network, inbox = attacked(Scripted(S, ["modify"], edits, budget=Budget(norm=norm)))
    difference = (inbox.payload() - clean().payload()).abs().amax()
    assert difference <= norm + 1e-5
    beyond = int((change[..., : S.degree, :].abs().amax(-1) > norm * (1 + 1e-5)).sum())
    assert network.guards[0].violations["modify beyond the norm"] == beyond


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_named(bad: float) -> None:
    def change(view: MessageView) -> MessageEdits:
        change = torch.ones(*view.reach.shape, S.width)
        change[1, 0, 0, 3] = bad
        return MessageEdits(modify=view.reach, change=change)

    def inject(view: MessageView) -> MessageEdits:
        payload = torch.ones(S.num_worlds, S.num_agents, 1, S.width)
        payload[2, 0, 0, 2] = bad
        return MessageEdits(inject=forge(view, S, payload=payload))

    for edits, where in ((change, "edits.change is .* in world 1"), (inject, "edits.inject.payload is .* in world 2")):
        with pytest.raises(NumberError, match=rf"attack 'scripted': {where} at step 5: return finite numbers"):
            attacked(Scripted(S, ["modify", "inject"], edits), ring(5))


def test_nan_where_nothing_is_edited_does_not_leak() -> None:
    """A message is left alone by leaving its mask out, whatever the tensor holds there."""

    def edits(view: MessageView) -> MessageEdits:
        nan = torch.full((*view.reach.shape, S.width), float("nan"))
        one = torch.zeros_like(view.reach)
        one[0, 0, 0] = True
        nan[0, 0, 0] = 1.0
        inject = forge(view, S, payload=torch.full((S.num_worlds, S.num_agents, 1, S.width), float("nan")))
        inject.payload[0, 0] = 1.0
        inject.where[:] = False
        inject.where[0, 0] = True
        return MessageEdits(modify=one, change=nan, inject=inject)

    network, inbox = attacked(Scripted(S, ["modify", "inject"], edits))
    assert inbox.payload().isfinite().all()
    assert not network.guards[0].violations


@given(
    per_step=st.one_of(st.none(), st.integers(0, 12)),
    per_episode=st.one_of(st.none(), st.integers(0, 30)),
    start=st.integers(0, 4),
    norm=st.just(None),
)
@settings(max_examples=40, deadline=None)
def test_budgets_hold_whatever_is_asked(
    per_step: int | None, per_episode: int | None, start: int, norm: float | None
) -> None:
    budget = Budget(per_step=per_step, per_episode=per_episode, start_step=start, norm=norm)
    attack = Scripted(S, ["drop", "modify", "inject"], everything, budget=budget)
    network = comms(S, [attack])
    guard = network.guards[0]
    spent_before, asked = torch.zeros(S.num_worlds, dtype=torch.int64), 0
    for step in range(5):
        touched = torch.zeros(S.num_worlds, dtype=torch.int64)
        for kind in range(S.rounds):
            e, before = ring(step, kind), network.ledger.messages.clone()
            network.exchange(e.spoken, e.links, e.step, kind)
            events = network.ledger.messages - before
            # dropped + forged + tampered; a message tampered with and then dropped costs 2 and counts as dropped
            touched += events[1] + events[2] + events[3]
            asked += S.num_worlds * 4 * (1 + S.degree + 1)
        spent = guard.spent - spent_before
        spent_before = guard.spent.clone()
        assert (touched <= spent).all()
        if step < start:
            assert not spent.any()
        if per_step is not None:
            assert (spent <= per_step).all()
    if per_episode is not None:
        assert (guard.spent <= per_episode).all()
    denied = guard.violations["beyond the budget"]
    assert denied + int(guard.spent.sum()) == asked, "all that was asked in reach is done or counted"


def test_budgets_start_anew_with_the_episode_and_per_world() -> None:
    attack = Scripted(S, ["drop"], lambda v: MessageEdits(drop=v.reach.clone()), budget=Budget(per_episode=5))
    network = comms(S, [attack])
    for step in range(3):
        e = ring(step)
        network.exchange(e.spoken, e.links, e.step, 0)
    assert network.ledger["dropped"].tolist() == [5, 5, 5]
    network.reset(torch.tensor([1]))
    e = ring(3)
    network.exchange(e.spoken, e.links, e.step, 0)
    assert network.ledger["dropped"].tolist() == [5, 10, 5]


def test_the_view_tells_what_is_left() -> None:
    left: list[list[int]] = []

    def edits(view: MessageView) -> MessageEdits:
        left.append(view.remaining.tolist())
        drop = torch.zeros_like(view.reach)
        drop[0, 0, :2] = drop[1, 0, 0] = True
        return MessageEdits(drop=drop)

    network = comms(S, [Scripted(S, ["drop"], edits, budget=Budget(per_step=3, per_episode=5, start_step=1))])
    for step in range(3):
        for kind in range(2):
            e = ring(step, kind)
            network.exchange(e.spoken, e.links, e.step, kind)
    assert left == [[0, 0, 0], [0, 0, 0], [3, 3, 3], [1, 2, 3], [2, 3, 3], [0, 2, 3]]


# ---- shapes, memory, worlds


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        (lambda v: MessageEdits(drop=v.reach[..., :1]), r"edits.drop must be torch.bool \(3, 4, 3\)"),
        (lambda v: MessageEdits(drop=v.reach.long()), "edits.drop must be torch.bool .* not torch.int64"),
        (lambda v: MessageEdits(modify=v.reach), "edits.modify needs edits.change"),
        (lambda v: MessageEdits(modify=v.reach, change=torch.ones(3, 4, 3)), r"edits.change must be .*\(3, 4, 3, 8\)"),
        (lambda v: MessageEdits(modify=v.reach, change=torch.ones(3, 4, 3, 8).double()), ".*not torch.float64"),
        (
            lambda v: MessageEdits(inject=forge(v, S, payload=torch.ones(3, 4, 1, 7))),
            r"edits.inject.payload must be .*\(3, 4, 1, 8\)",
        ),
        (
            lambda v: MessageEdits(inject=forge(v, S, payload=torch.ones(3, 4, 1, 8).half())),
            "edits.inject.payload .* torch.float16",
        ),
        (
            lambda v: MessageEdits(inject=forge(v, S, where=torch.ones(3, 4, 1))),
            "inject.where must be torch.bool",
        ),
        (lambda v: MessageEdits(inject=forge(v, S, sender=torch.zeros(3, 4, 2).long())), "edits.inject.sender must be"),
        (
            lambda v: MessageEdits(inject=forge(v, S, seal=torch.zeros(3, 4, 1))),
            "inject.seal must be torch.int64",
        ),
    ],
)
def test_wrong_shapes_and_types_are_named(edits: Callable[[MessageView], MessageEdits], message: str) -> None:
    with pytest.raises(HookError, match=f"attack 'scripted': (edits.)?{message}"):
        attacked(Scripted(S, ["drop", "modify", "inject"], edits))


def test_more_slots_than_announced_cannot_be_taken() -> None:
    with pytest.raises(HookError, match=r"inject\.where must be"):
        attacked(Scripted(S, ["inject"], lambda v: MessageEdits(inject=forge(v, S)), injections=0))


def test_positions_outside_the_team_are_refused() -> None:
    for position in (Position(kind="edge", links=((0, 9),)), Position(kind="node", node=4)):
        with pytest.raises(ValueError, match=r"0 \.\. 3"):
            comms(S, [Scripted(S, ["drop"], lambda v: MessageEdits(), position)])


def test_memory_is_changed_in_place_and_reset_with_its_world() -> None:
    def fresh() -> dict[str, Tensor]:
        return {"count": torch.zeros(S.num_worlds)}

    def counting(view: MessageView) -> MessageEdits:
        view.memory["count"] += 1
        return MessageEdits()

    network = comms(S, [Scripted(S, [], counting, memory=fresh)])
    for step in range(4):
        e = ring(step)
        network.exchange(e.spoken, e.links, e.step, 0)
        if step == 2:
            network.reset(torch.tensor([1]))
    assert network.guards[0].memory.tensors["count"].tolist() == [4, 1, 4]

    def swapping(view: MessageView) -> MessageEdits:
        view.memory["count"] = view.memory["count"] + 1
        return MessageEdits()

    def adding(view: MessageView) -> MessageEdits:
        view.memory["more"] = torch.zeros(S.num_worlds)
        return MessageEdits()

    for edits in (swapping, adding):
        with pytest.raises(HookError, match="in place"):
            attacked(Scripted(S, [], edits, memory=fresh))


def test_edits_kept_by_the_attack_cannot_be_changed_afterwards() -> None:
    kept: list[MessageEdits] = []

    def edits(view: MessageView) -> MessageEdits:
        kept.append(everything(view))
        return kept[0]

    e = ring()
    _, inbox = attacked(Scripted(S, ["drop", "modify", "inject"], edits), e)
    before = heard(inbox).clone()
    made = kept[0]
    assert made.change is not None
    assert made.inject is not None
    made.change.fill_(99)
    made.inject.payload.fill_(99)
    assert torch.equal(heard(inbox), before)


def test_a_greedy_attack_in_one_world_leaves_the_others_bit_identical() -> None:
    def edits(view: MessageView) -> MessageEdits:
        wild = everything(view)
        only = torch.zeros_like(view.reach)
        only[1] = True
        assert wild.drop is not None
        assert wild.inject is not None
        wild.inject.where[[0, 2]] = False
        return replace(wild, drop=wild.drop & only, modify=only)

    attack = Scripted(S, ["drop", "modify", "inject"], edits, budget=Budget(per_step=5))
    exchanges = conversation(S, 8, seed=3)
    network = comms(S, [attack], [defense("authenticate", S), defense("clip", S)])
    others = torch.tensor([0, 2])
    plain = comms(S, [], [defense("authenticate", S), defense("clip", S)])
    for a, b in zip(carry(network, exchanges), carry(plain, exchanges), strict=True):
        assert same_heard([a], [b], others.tolist())
    assert network.guards[0].spent[others].sum() == 0
    assert network.ledger["dropped"].tolist()[::2] == [0, 0]
    assert network.ledger["dropped"][1] > 0
