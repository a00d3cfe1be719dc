"""Attacks that want all they can get, made up by hypothesis: what the threat model does not grant does not happen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import Attacked, Scripted, comms, forge, same_inbox, team_shape
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agentcomm.base.errors import HookError
from agentcomm.conformance.conversations import carry, conversation, heard
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Budget, Position, Power, ThreatModel
from agentcomm.contracts.traffic import HEADER
from agentcomm.contracts.views import MessageView

S = team_shape(worlds=3, agents=4, degree=2, width=4)
POWERS: tuple[Power, ...] = ("read", "modify", "inject", "drop", "delay", "replay")
positions = st.one_of(
    st.builds(lambda links: Position(kind="edge", links=tuple(links)), st.lists(st.sampled_from([(0, 1), (2, 3)]))),
    st.builds(lambda node: Position(kind="node", node=node), st.integers(0, 3)),
    st.just(Position(kind="edge")),
    st.just(Position(kind="newcomer")),
    st.just(Position(kind="observer")),
    st.just(Position(kind="hub")),
)
budgets = st.builds(
    Budget,
    per_step=st.none() | st.integers(0, 4),
    per_episode=st.none() | st.integers(0, 9),
    norm=st.none() | st.sampled_from([0.0, 0.1, 2.0]),
    length=st.none() | st.sampled_from([0.0, 0.3]),
    start_step=st.integers(0, 3),
)
threats = st.builds(ThreatModel, positions, st.frozensets(st.sampled_from(POWERS)), st.just("protocol"), budgets)
numbers = st.sampled_from([0.0, 0.05, -3.0, 1e30])


def villain(threat: ThreatModel, size: float, scribbles: bool) -> tuple[Scripted, list[MessageView]]:
    """Asks for the same edits every time, whatever it is shown; and the views that it was shown."""
    seen: list[MessageView] = []

    def wish(view: MessageView) -> MessageEdits:
        copied = {n: v.clone() for n, v in vars(view).items() if isinstance(v, Tensor)}
        seen.append(replace(view, **copied, granted={n: v.clone() for n, v in view.granted.items()}))
        every = torch.ones(view.reach.shape, dtype=torch.bool)
        slot = torch.arange(every.shape[-1])
        edits = MessageEdits(
            drop=every & (slot == 1),
            modify=every,
            change=torch.full((*every.shape, S.width), size),
            delay=every.long() * (slot == 0),
            inject=forge(view, S),
        )
        if scribbles:
            for name in ("payload", *HEADER, "reach", "step", "remaining"):
                if name not in view.NEEDS or view.shows(name):
                    getattr(view, name).fill_(1)
        return edits

    return Scripted(S, threat.powers, wish, threat.position, threat.budget), seen


@settings(max_examples=60, deadline=None)
@given(threats, numbers, st.booleans(), st.integers(0, 5))
def test_what_the_threat_model_does_not_grant_does_not_happen(
    threat: ThreatModel, size: float, scribbles: bool, seed: int
) -> None:
    exchanges = conversation(S, 5, seed)
    attack, seen = villain(threat, size, scribbles)
    network, plain = comms(S, [attack]), comms(S)
    guard = network.guards[0]
    spent_in_step = torch.zeros(S.num_worlds, dtype=torch.int64)
    for e in exchanges:
        before = guard.spent.clone()
        got = network.exchange(e.spoken, e.links, e.step, e.round)
        expected = plain.exchange(e.spoken, e.links, e.step, e.round)
        view = seen[-1]
        _check_shown(view, threat)
        spent = guard.spent - before
        spent_in_step = spent if e.round == 0 else spent_in_step + spent
        may = threat.budget
        assert may.per_step is None or (spent_in_step <= may.per_step).all()
        assert may.per_episode is None or (guard.spent <= may.per_episode).all()
        assert not spent[e.step < may.start_step].any()
        if "delay" in threat.powers:
            break  # from here on, what arrives is not what was sent now
        slots = slice(expected.mask.shape[2])
        reach = view.reach[..., slots]
        lost = expected.mask & ~got.mask[..., slots]
        assert "drop" in threat.powers or not lost.any()
        assert not (lost & ~reach).any()
        both = expected.mask & got.mask[..., slots]
        change = (heard(got)[..., slots, :] - heard(expected)).masked_fill(~both.unsqueeze(-1), 0.0)
        changed = (change != 0).any(-1)
        assert "modify" in threat.powers or not changed.any()
        assert not (changed & ~reach).any()
        assert change.isfinite().all()
        assert may.norm is None or change.abs().max() <= may.norm * 1.0001 + 1e-6
        assert may.length is None or change.norm(dim=-1).max() <= may.length * 1.0001 + 1e-6
        assert "inject" in threat.powers or got.mask.sum() <= expected.mask.sum()
        for n in (network, plain):
            n.reset(e.ended)
        spent_in_step[e.ended] = 0
    asked = {"drop", "modify", "delay", "inject"} - threat.powers - ({"inject"} if "replay" in threat.powers else set())
    for power in asked:
        assert guard.violations[f"{power} without the power to"] > 0


def _check_shown(view: MessageView, threat: ThreatModel) -> None:
    if "read" not in threat.powers:
        assert not view.shows("payload")
        assert not any(view.shows(name) for name in HEADER)
        return
    assert not view.payload[~view.reach].any()
    assert all((getattr(view, name)[~view.reach] == -1).all() for name in HEADER)
    if threat.position.kind in ("newcomer", "hub"):
        assert not view.reach.any()


@settings(max_examples=30, deadline=None)
@given(threats, st.integers(0, 5))
def test_forgeries_are_recorded_as_the_attackers_own(threat: ThreatModel, seed: int) -> None:
    network = comms(S, [villain(threat, 0.05, scribbles=False)[0]])
    network.network.trace = []
    carry(network, conversation(S, 4, seed))
    for notes in network.network.trace:
        origin, sender, fate = (notes.fields[name] for name in ("origin", "sender", "fate"))
        forged = origin == network.guards[0].identity
        honest = (fate > 0) & ~forged
        assert (origin[honest] == sender[honest]).all()
        if threat.position.kind != "node":
            assert forged.sum() == 0 or "inject" in threat.powers


# ---- behind the guard's back


class Sly(Attack):
    """Remembers in attributes, and draws from torch's own generator."""

    name = "sly"

    def __init__(self, s: TeamShape, how: str) -> None:
        super().__init__(AttackConfig(), s)
        self.how = how
        self.calls, self.list, self.tensor, self.mapping = 0, [0], torch.zeros(2), {"a": 1}
        self.nested = ([0], {"deep": [torch.zeros(2)]})

    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edge"), frozenset({"drop"}))

    def on_messages(self, view: MessageView) -> MessageEdits:
        used = self.calls + len(self.list) - 1 + int(self.tensor.sum()) + len(self.mapping) - 1 + hasattr(self, "new")
        used += len(self.nested[0]) - 1 + int(self.nested[1]["deep"][0].sum())
        if self.how == "global generator":
            used = float(torch.rand(()))
        if self.how == "attribute":
            self.calls += 1
        if self.how == "list":
            self.list.append(1)
        if self.how == "tensor":
            self.tensor += 1
        if self.how == "mapping":
            self.mapping["b"] = 2
        if self.how == "list in a tuple":
            self.nested[0].append(1)
        if self.how == "tensor deep inside":
            self.nested[1]["deep"][0] += 1
        if self.how == "new attribute":
            self.new = True
        return MessageEdits(drop=torch.full_like(view.reach, used > 0 and self.how != "global generator") & view.reach)


@pytest.mark.parametrize(
    "how", ["attribute", "list", "tensor", "mapping", "list in a tuple", "tensor deep inside", "new attribute"]
)
def test_state_outside_memory_is_undone_and_recorded(how: str) -> None:
    network, exchanges = comms(S, [Sly(S, how)]), conversation(S, 4)
    for got, expected in zip(carry(network, exchanges), carry(comms(S), exchanges), strict=True):
        assert same_inbox(got, expected), "it could use what it remembered"
    assert network.guards[0].violations["keeps state outside its memory"] == len(exchanges)


def test_the_global_generator_is_put_back_and_that_is_recorded() -> None:
    before, exchanges = torch.get_rng_state(), conversation(S, 3)
    network = comms(S, [Sly(S, "global generator")])
    carry(network, exchanges)
    assert torch.equal(before, torch.get_rng_state())
    assert network.guards[0].violations["draws from the global generator"] == len(exchanges)


def test_an_honest_attack_is_not_suspected() -> None:
    network = comms(S, [Sly(S, "nothing")])
    carry(network, conversation(S, 3))
    assert not network.guards[0].violations


def test_a_world_cannot_be_told_of_by_memory_that_another_wrote() -> None:
    """Memory is handed over whole, so the check of every plug-in is what finds this out."""
    from agentcomm.conformance import check_attack

    class Gossip(Attack):
        name = "gossip"

        def threat_model(self) -> ThreatModel:
            return ThreatModel(Position(kind="edge"), frozenset({"read", "drop"}), budget=self.config.budget)

        def memory(self) -> dict[str, Tensor]:
            return {"heard": torch.zeros(self.team_shape.num_worlds, 1)}

        def on_messages(self, view: MessageView) -> MessageEdits:
            view.memory["heard"][-1] += view.payload[0].sum()
            return MessageEdits(drop=view.reach & (view.memory["heard"] > 0).unsqueeze(-1))

    with pytest.raises(AssertionError, match="worlds are not independent of each other"):
        check_attack(Gossip)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"powers": frozenset({"reed"})}, r"unknown powers \['reed'\]; known: read"),
        ({"position": None}, "position must be a Position, not NoneType"),
        ({"budget": {"norm": 1.0}}, "budget must be a Budget, not dict"),
    ],
)
def test_a_threat_model_of_wrong_parts_is_named(changes: dict[str, Any], message: str) -> None:
    attack = Scripted(S, ["read"], lambda view: MessageEdits())
    for name, value in changes.items():
        object.__setattr__(attack._threat, name, value)
    with pytest.raises(ValueError, match=f"attack 'scripted': {message}"):
        comms(S, [attack])


def test_announcements_are_whole_numbers() -> None:
    with pytest.raises(ValueError, match=r"attack 'scripted': injections\(\) must return a whole number of at least 0"):
        comms(S, [Scripted(S, ["read"], lambda view: MessageEdits(), injections=-1)])


def test_errors_in_a_hook_name_the_attack_the_file_and_the_line() -> None:
    def divides(view: MessageView) -> MessageEdits:
        raise ZeroDivisionError("by nothing")

    network, e = comms(S, [Scripted(S, ["read"], divides)]), conversation(S, 1)[0]
    with pytest.raises(
        HookError, match=r"attack 'scripted' failed in on_messages: ZeroDivisionError: .*\.py, line \d+"
    ):
        network.exchange(e.spoken, e.links, e.step, e.round)


def test_guards_draw_by_themselves() -> None:
    first, second = (comms(S, [Sly(S, "nothing")]).guards[0] for _ in range(2))
    other = Attacked.between(S, [Sly(S, "nothing")], secret=5).guards[0]
    assert torch.equal(first.own.get_state(), second.own.get_state()), "cells can be repeated"
    assert not torch.equal(first.own.get_state(), first.generator.get_state())
    assert torch.equal(first.generator.get_state(), other.generator.get_state())
    assert not torch.equal(first.own.get_state(), other.own.get_state()), "it depends on the secret"
