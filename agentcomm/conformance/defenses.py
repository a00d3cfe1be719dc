"""Do defenses keep their contract?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.calling import answered
from agentcomm.conformance.common import check_memory, checked_config, require
from agentcomm.conformance.conversations import carry, check_state, conversation, make_team_shape, same_heard
from agentcomm.conformance.directories import LOOKUPS, MEMBERS, STEPS, WORLDS, Market, same_answer
from agentcomm.conformance.disturb import Disturb, DisturbDirectory, Refuse
from agentcomm.conformance.hooks import ACTIONS, act, same
from agentcomm.conformance.reassembly import check_reassembly
from agentcomm.contracts.attack import AttackConfig
from agentcomm.contracts.defense import ORDERS, READING, Defense, DefenseConfig, defense_hooks
from agentcomm.contracts.directory_defense import Answer, DirectoryRequests, DirectoryVerdicts
from agentcomm.contracts.fragments import ArrivingFragments
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.verdicts import (
    ActionRequest,
    ActionVerdicts,
    Delivered,
    ExchangeOutcome,
    InboxView,
    Responses,
    Verdicts,
)
from agentcomm.step.comms import Comms

Memory = dict[str, Tensor]
Hook = Callable[[Any, Any, Memory], Any]
JUNK = 1e9
ANSWERS: dict[str, type] = {
    "screen": Verdicts,
    "on_action": ActionVerdicts,
    "on_directory": DirectoryVerdicts,
    "respond": Responses,
}


def check_defense(
    defense: type[Defense],
    arguments: dict[str, Any] | None = None,
    num_agents: int = 4,
    width: int = 8,
    quick: bool = False,
) -> None:
    """Check the contract of :class:`agentcomm.contracts.defense.Defense`, hook by hook, under attack and without.

    Args:
        defense: The defense's class.
        arguments: Its arguments; those by default when not given.
        num_agents: Size of the team that it defends.
        width: Width of its payloads.
        quick: Whether to make a part of the checks only, in a fraction of a second.

    Raises:
        AssertionError: If the defense breaks the contract.
    """
    config: DefenseConfig = checked_config("defense", defense, Defense, arguments, quick)
    hooks = defense_hooks(defense)
    require(bool(hooks), "it overrides no hook, and so does nothing")
    _check_declarations(defense)
    watched = _watched(defense)

    def make(team_shape: TeamShape) -> Defense:
        return watched(config, team_shape)

    _check_history(make)
    if hooks & {"screen", "aggregate", "respond"}:
        _check_messages(make, make_team_shape(num_agents, 3, width), "respond" in hooks, quick)
    if "reassemble" in hooks:
        check_reassembly(make, quick)
    if "on_action" in hooks:
        _check_actions(make, num_agents)
    if "on_directory" in hooks:
        _check_directory(make)


def _check_declarations(defense: type[Defense]) -> None:
    require(defense.order in ORDERS, f"order is {defense.order!r}, not one of {', '.join(ORDERS)}")
    for name in ("needs_seal", "refuses", "fails_open", "lossless"):
        value = getattr(defense, name)
        require(isinstance(value, bool), f"{name} is {value!r}, not True or False")
    history, latency = defense.history, defense.latency
    require(
        history is None or (isinstance(history, int) and history >= 0), f"history is {history!r}, not steps or None"
    )
    require(isinstance(latency, int) and latency >= 0, f"latency is {latency!r}, not a number of steps")


def _check_history(make: Callable[[TeamShape], Defense]) -> None:
    """It remembers something exactly if it says so, and all of its memory has a row per world."""
    made, shape = make(_market_shape()), Market().directory.shape
    check_memory(made.memory, WORLDS)
    check_memory(lambda: made.directory_memory(shape), WORLDS)
    remembers = bool(made.memory() or made.directory_memory(shape))
    require(
        remembers == (made.history != 0), f"history is {made.history}, but it has {'a' if remembers else 'no'} memory"
    )


def _check_messages(make: Callable[[TeamShape], Defense], shape: TeamShape, responds: bool, quick: bool) -> None:
    """On random conversations: verdicts, state, and what becomes of clean messages."""
    for degree in (shape.degree,) if quick else (0, shape.degree):
        team_shape = replace(shape, degree=degree)
        exchanges = conversation(team_shape, 5 if quick else 10, seed=3 if degree else 0)

        def build(attacked: bool = True, team_shape: TeamShape = team_shape) -> Comms:
            attacks = [Disturb(AttackConfig(), team_shape)] if attacked else []
            others = [Refuse(DefenseConfig(), team_shape)] if attacked and responds else []
            return Comms.between(team_shape, attacks, [*others, make(team_shape)], seed=1)

        carry(build(), exchanges)
        if make(team_shape).lossless:
            passed = same_heard(carry(build(attacked=False), exchanges), carry(Comms.between(team_shape), exchanges))
            require(passed, "clean messages are refused or changed (set lossless = False if that is its price)")
    check_state(build, exchanges[:4] if quick else exchanges, quick)


def _check_actions(make: Callable[[TeamShape], Defense], num_agents: int) -> None:
    """On random actions: verdicts and state; greedy ones stay as they are."""
    team_shape = make_team_shape(num_agents, 2)

    def build() -> Comms:
        return Comms.between(team_shape, [], [make(team_shape)], seed=1)

    first, second = build(), build()
    act(first, 2)
    second.restore(first.snapshot())
    require(same(act(first, 3), act(second, 3)), "a restored run acts differently: something is kept outside memory")
    if make(team_shape).lossless:
        plain = act(Comms.between(team_shape), 4, greedy=True)
        passed = same(act(build(), 4, greedy=True), plain)
        require(passed, "greedy actions are changed (set lossless = False if that is its price)")


def _check_directory(make: Callable[[TeamShape], Defense]) -> None:
    """On random look-ups: verdicts, state, and what becomes of clean answers."""

    def market(attacked: bool = True, defended: bool = True) -> tuple[Market, Comms]:
        out, shape = Market(), _market_shape()
        attacks = [DisturbDirectory(AttackConfig(), shape)] if attacked else []
        defenses = [make(shape)] if defended else []
        comms = Comms.between(shape, attacks, defenses, seed=1, directory=out.directory.shape)
        out.install(comms.adversary.directory_guards, comms.defenders.directory_screens)
        return out, comms

    (first, comms), (second, other) = market(), market()
    for _ in range(STEPS):
        first.turn()
    second.resume(first)
    other.restore(comms.snapshot())
    alike = all(same_answer(first.turn(), second.turn()) for _ in range(STEPS))
    require(alike, "a restored directory answers differently: something is kept outside memory")
    if make(_market_shape()).lossless:
        plain, defended = market(False, False)[0], market(False)[0]
        passed = all(same_answer(plain.turn(), defended.turn()) for _ in range(STEPS))
        require(passed, "clean look-ups are answered differently (set lossless = False if that is its price)")


def _market_shape() -> TeamShape:
    return TeamShape(WORLDS, max(MEMBERS, LOOKUPS), 1, 8, 1, torch.device("cpu"))


# ---- looking over a defense's shoulder


def _watched(defense: type[Defense]) -> type[Defense]:
    """The same defense, each of whose hooks is checked whenever it is called."""
    checks: dict[str, Callable[[Hook], Hook]] = {
        "reassemble": _reassemble,
        "screen": _screen,
        "aggregate": _aggregate,
        "on_action": _on_action,
        "on_directory": _on_directory,
        "respond": _respond,
    }
    members: dict[str, Any] = {hook: checks[hook](getattr(defense, hook)) for hook in defense_hooks(defense)}
    made: type[Defense] = type(defense.__name__, (defense,), {"name": defense.name} | members)
    return made


def _called(hook: Hook, made: Defense, view: Any, memory: Memory, names: tuple[str, ...] = ()) -> Any:
    """What a hook answers; it must leave its view alone, and its memory where it is."""
    where = hook.__name__
    names = names or tuple(f.name for f in fields(view) if isinstance(getattr(view, f.name), Tensor))
    before, places = {name: getattr(view, name).clone() for name in names}, dict(memory)
    answer = hook(made, view, memory)
    if where in ANSWERS:
        answered(answer, ANSWERS[where], f"defense {made.name!r}", where, f"{ANSWERS[where].__name__}(...)")
    changed = [name for name, value in before.items() if not torch.equal(value, getattr(view, name))]
    require(not changed, f"{where} changes {', '.join(changed)} of what it is shown")
    kept = places.keys() == memory.keys() and all(memory[name] is value for name, value in places.items())
    require(kept, f"{where} swaps tensors of its memory; they must be changed in place")
    return answer


def _typed(what: str, value: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    fits = value is None or (value.shape == shape and value.dtype == dtype)
    require(fits, f"{what} must be {dtype} {tuple(shape)}")


def _copied(memory: Memory) -> Memory:
    return {name: value.clone() for name, value in memory.items()}


def _equal(first: Tensor | None, second: Tensor | None, where: Tensor | slice = slice(None)) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first[where], second[where])


def _reassemble(hook: Hook) -> Hook:
    def reassemble(self: Defense, arriving: ArrivingFragments, memory: Memory) -> Tensor | None:
        refused: Tensor | None = _called(hook, self, arriving, memory)
        _typed("reassemble", refused, arriving.count.shape, torch.bool)
        return refused

    return reassemble


def _screen(hook: Hook) -> Hook:
    names = ("present", "sender", "audience", "sequence", "sent_at", "sent_round", "key", "payload", "step")

    def screen(self: Defense, delivered: Delivered, memory: Memory) -> Verdicts:
        before = _copied(memory)
        verdicts: Verdicts = _called(hook, self, delivered, memory, names)
        present = delivered.present
        _typed("refuse", verdicts.refuse, present.shape, torch.bool)
        require(self.refuses or verdicts.refuse is None, "it refuses messages: leave refuses = True")
        for name in ("scale", "score"):
            value = getattr(verdicts, name)
            _typed(name, value, present.shape, torch.float32)
            require(value is None or value[present].isfinite().all(), f"{name} is not finite")
        if verdicts.replace is not None:
            where, payload = verdicts.replace
            require(ORDERS.index(self.order) >= READING, f"order {self.order!r} is too early to replace payloads")
            _typed("replace.where", where, present.shape, torch.bool)
            _typed("replace.payload", payload, delivered.payload.shape, torch.float32)
            require(not (where & ~present).any(), "it replaces payloads of messages that are not there")
            require(payload[where].isfinite().all(), "replace.payload is not finite")
        sealed = self.needs_seal or "sealed_by_sender" not in vars(delivered)
        require(sealed, "it asks whose seal it is: set needs_seal = True")
        _check_empty(hook, self, delivered, before, memory, verdicts)
        return verdicts

    return screen


def _check_empty(
    hook: Hook, made: Defense, delivered: Delivered, before: Memory, after: Memory, verdicts: Verdicts
) -> None:
    """Nothing depends on payloads in slots that hold no message."""
    traffic, present = delivered._traffic, delivered.present
    junk = traffic.edit_payload(~present, torch.full_like(delivered.payload, JUNK))
    again = Delivered(junk, delivered._verifier, delivered.step, delivered.round, delivered._arrived)
    other: Verdicts = hook(made, again, before)
    alike = all(_equal(getattr(verdicts, n), getattr(other, n), present) for n in ("refuse", "score"))
    alike &= all(torch.equal(before[name], value) for name, value in after.items())
    require(alike, "it judges payloads of messages that are not there")


def _aggregate(hook: Hook) -> Hook:
    def aggregate(self: Defense, inbox: InboxView, memory: Memory) -> Tensor | None:
        new: Tensor | None = _called(hook, self, inbox, memory)
        _typed("aggregate", new, inbox.payload.shape, torch.float32)
        finite = new is None or not inbox.payload.isfinite().all() or new[inbox.present].isfinite().all()
        require(finite, "what it aggregates to is not finite")
        return new

    return aggregate


def _on_action(hook: Hook) -> Hook:
    def on_action(self: Defense, request: ActionRequest, memory: Memory) -> ActionVerdicts:
        before = _copied(memory)
        verdicts: ActionVerdicts = _called(hook, self, request, memory)
        shape = request.action.shape
        _typed("resample", verdicts.resample, shape, torch.float64)
        _typed("replace", verdicts.replace, shape, torch.int64)
        chance, chosen = verdicts.resample, verdicts.replace
        require(chance is None or ((chance >= 0) & (chance <= 1)).all(), "resample is no chance in [0, 1]")
        known = chosen is None or ((chosen >= -1) & (chosen < request.logits.shape[-1])).all()
        require(known, f"replace is no action in 0 .. {ACTIONS - 1}, nor -1")
        some = request.world > 0
        rows = {name: getattr(request, name)[some] for name in ("world", "agent", "logits", "action")}
        alone: ActionVerdicts = hook(self, replace(request, **rows), before)
        for name in ("resample", "replace"):
            whole, part = getattr(verdicts, name), getattr(alone, name)
            apart = _equal(None if whole is None else whole[some], part)
            require(apart, f"{name}: worlds are not independent of each other")
        return verdicts

    return on_action


def _on_directory(hook: Hook) -> Hook:
    refusals = {"refuse_cards": "card_sent", "refuse_ratings": "rating_sent"}
    refusals |= {"close": "half_open", "refuse_traces": "trace_name", "turn_away_cards": "card_sent"}
    refusals |= {"turn_away_requests": "request_sent", "strip": "card_sent"}

    def on_directory(self: Defense, requests: DirectoryRequests, memory: Memory) -> DirectoryVerdicts:
        before = _copied(memory)
        verdicts: DirectoryVerdicts = _called(hook, self, requests, memory)
        for name, by in refusals.items():
            _typed(name, getattr(verdicts, name), getattr(requests, by).shape, torch.bool)
        given, told = requests.answer, verdicts.answer
        require(told is None or given is not None, "it answers where there was no look-up")
        if given is not None and told is not None:
            for field in fields(Answer):
                was, new = getattr(given, field.name), getattr(told, field.name)
                _typed(f"answer.{field.name}", new, was.shape, was.dtype)
        alone: DirectoryVerdicts = hook(self, _rest(requests), before)
        parts = [(getattr(verdicts, name), getattr(alone, name)) for name in refusals]
        if told is not None and alone.answer is not None:
            parts += [(getattr(told, f.name), getattr(alone.answer, f.name)) for f in fields(Answer)]
        apart = all(_equal(None if whole is None else whole[1:], part) for whole, part in parts)
        others = requests.worlds[1:]
        apart &= all(torch.equal(before[name][others], value[others]) for name, value in memory.items())
        require(apart, "worlds are not independent of each other")
        return verdicts

    return on_directory


def _rest(requests: DirectoryRequests) -> DirectoryRequests:
    """The same without the first of the worlds."""
    rows: dict[str, Any] = {f.name: getattr(requests, f.name) for f in fields(requests) if f.name != "answer"}
    rows = {name: value[1:] if isinstance(value, Tensor) else value for name, value in rows.items()}
    answer = requests.answer
    if answer is not None:
        answer = Answer(**{f.name: getattr(answer, f.name)[1:] for f in fields(Answer)})
    return DirectoryRequests(**rows, answer=answer)


def _respond(hook: Hook) -> Hook:
    def respond(self: Defense, outcome: ExchangeOutcome, memory: Memory) -> Responses:
        responses: Responses = _called(hook, self, outcome, memory)
        worlds, agents = outcome.arrived.shape[:2]
        _typed("quarantine", responses.quarantine, (worlds, agents, agents), torch.int64)
        steps = responses.quarantine
        require(steps is None or (steps >= 0).all(), "quarantine is no number of steps")
        return responses

    return respond
