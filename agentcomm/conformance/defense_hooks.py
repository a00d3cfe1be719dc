"""Checks a defense whenever one of its hooks is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.calling import answered
from agentcomm.conformance.common import require
from agentcomm.contracts.defense import ORDERS, READING, Defense, defense_hooks
from agentcomm.contracts.directory_defense import Answer, DirectoryRequests, DirectoryVerdicts
from agentcomm.contracts.fragments import ArrivingFragments
from agentcomm.contracts.outgoing import Outgoing
from agentcomm.contracts.verdicts import (
    ActionRequest,
    ActionVerdicts,
    Delivered,
    Draws,
    ExchangeOutcome,
    InboxView,
    Responses,
    Verdicts,
)

Memory = dict[str, Tensor]
Hook = Callable[[Any, Any, Memory], Any]
JUNK = 1e9
ANSWERS: dict[str, type] = {
    "screen": Verdicts,
    "on_action": ActionVerdicts,
    "on_directory": DirectoryVerdicts,
    "respond": Responses,
}


def watched(defense: type[Defense]) -> type[Defense]:
    """The same defense, each of whose hooks is checked whenever it is called."""
    checks: dict[str, Callable[[Any], Any]] = {
        "cover": _cover,
        "pad": _pad,
        "reassemble": _reassemble,
        "screen": _screen,
        "aggregate": _aggregate,
        "subsets": _subsets,
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


def _cover(hook: Hook) -> Hook:
    def cover(self: Defense, outgoing: Outgoing, memory: Memory) -> Tensor | None:
        dummy: Tensor | None = _called(hook, self, outgoing, memory)
        _typed("cover", dummy, outgoing.sent.shape, torch.bool)
        return dummy

    return cover


def _pad(hook: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    def pad(self: Defense, size: Tensor) -> Tensor:
        before = size.clone()
        padded = hook(self, size)
        _typed("pad", padded, size.shape, torch.int64)
        require(torch.equal(before, size), "pad changes the sizes that it is shown")
        require((padded >= size).all(), "pad makes messages shorter")
        return padded

    return pad


def _screen(hook: Hook) -> Hook:
    names = ("present", "sender", "audience", "sequence", "sent_at", "sent_round", "key", "payload", "step")

    def screen(self: Defense, delivered: Delivered, memory: Memory) -> Verdicts:
        before, draws = _copied(memory), delivered._draws.copy()
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
        changed = verdicts.scale is not None or verdicts.replace is not None
        require(self.changes_payloads or not changed, "it changes payloads: set changes_payloads = True")
        _check_repair(verdicts, delivered)
        sealed = self.needs_seal or not {"sealed_by_sender", "sealed_by"} & vars(delivered).keys()
        require(sealed, "it asks whose seal it is: set needs_seal = True")
        hostile = _copied(before)
        _check_empty(hook, self, delivered, draws.copy(), before, memory, verdicts)
        if not delivered.step.any():
            _check_hostile(hook, self, delivered, draws, hostile)
        return verdicts

    return screen


def _check_repair(verdicts: Verdicts, delivered: Delivered) -> None:
    if verdicts.repair is not None:
        where, payload = verdicts.repair
        _typed("repair.where", where, delivered.present.shape, torch.bool)
        _typed("repair.payload", payload, delivered.payload.shape, torch.float32)
        require(not (where & ~delivered.refused).any(), "it repairs messages that no defense has refused")
        require(payload[where].isfinite().all(), "repair.payload is not finite")


def _check_empty(
    hook: Hook,
    made: Defense,
    delivered: Delivered,
    draws: Draws,
    before: Memory,
    after: Memory,
    verdicts: Verdicts,
) -> None:
    """Nothing depends on payloads in slots that hold no message."""
    traffic, present = delivered._traffic, delivered.present
    junk = traffic.edit_payload(~present, torch.full_like(delivered.payload, JUNK))
    shown = delivered._arrived, delivered.link, delivered.size, draws, delivered._unheard
    again = Delivered(junk, delivered._verifier, delivered.step, delivered.round, *shown)
    other: Verdicts = hook(made, again, before)
    alike = all(_equal(getattr(verdicts, n), getattr(other, n), present) for n in ("refuse", "score"))
    alike &= all(torch.equal(before[name], value) for name, value in after.items())
    require(alike, "it judges payloads of messages that are not there")


def _check_hostile(hook: Hook, made: Defense, delivered: Delivered, draws: Draws, memory: Memory) -> None:
    """Payloads that are not finite leave no such numbers in verdicts and memory."""
    traffic = delivered._traffic.edit_payload(delivered.present, _hostile(delivered.payload))
    shown = delivered._arrived, delivered.link, delivered.size, draws, delivered._unheard
    known = _infinite(memory)
    verdicts: Verdicts = hook(
        made, Delivered(traffic, delivered._verifier, delivered.step, delivered.round, *shown), memory
    )
    kept = delivered.present if verdicts.refuse is None else delivered.present & ~verdicts.refuse
    numbers = {"scale": (verdicts.scale, kept), "score": (verdicts.score, delivered.present)}
    for name in ("replace", "repair"):
        new = getattr(verdicts, name)
        if new is not None:
            numbers[name] = new.payload, new.where
    for name, (value, where) in numbers.items():
        require(value is None or value[where].isfinite().all(), f"{name} is not finite under infinite payloads")
    require(_infinite(memory) <= known, "infinite payloads leave such numbers in its memory")


def _hostile(payload: Tensor) -> Tensor:
    """Payloads [B, N, M, D], some of which start with an infinite number or with none at all, by slot."""
    hostile = payload.clone()
    for at, value in enumerate((torch.nan, torch.inf, -torch.inf)):
        hostile[:, :, at::4, 0] = value
    return hostile


def _infinite(memory: Memory) -> int:
    """How many numbers of a memory are not finite."""
    return sum(int((~value.isfinite()).sum()) for value in memory.values())


def _aggregate(hook: Hook) -> Hook:
    def aggregate(self: Defense, inbox: InboxView, memory: Memory) -> Tensor | None:
        before, draws = _copied(memory), inbox.draws.copy()
        new: Tensor | None = _called(hook, self, inbox, memory)
        require(self.changes_payloads or new is None, "it changes payloads: set changes_payloads = True")
        _typed("aggregate", new, inbox.payload.shape, torch.float32)
        finite = new is None or not inbox.payload.isfinite().all() or new[inbox.present].isfinite().all()
        require(finite, "what it aggregates to is not finite")
        if not inbox.step.any():
            _check_hostile_inbox(hook, self, inbox, before, draws)
        return new

    return aggregate


def _check_hostile_inbox(hook: Hook, made: Defense, inbox: InboxView, memory: Memory, draws: Draws) -> None:
    """Payloads that are not finite stay as they are, or are replaced by finite ones."""
    payload = torch.where(inbox.present.unsqueeze(-1), _hostile(inbox.payload), inbox.payload)
    known = _infinite(memory)
    new: Tensor | None = hook(made, replace(inbox, payload=payload, draws=draws), memory)
    if new is not None:
        left = (new == payload) | (new.isnan() & payload.isnan())
        require((left | new.isfinite())[inbox.present].all(), "what it aggregates infinite payloads to is not finite")
    require(_infinite(memory) <= known, "infinite payloads leave such numbers in its memory")


def _subsets(hook: Hook) -> Hook:
    def subsets(self: Defense, inbox: InboxView, memory: Memory) -> Tensor | None:
        heard: Tensor | None = _called(hook, self, inbox, memory)
        sizes = inbox.present.shape
        fits = heard is None or (heard.dtype == torch.bool and heard.dim() == 4 and heard.shape[1:] == sizes)
        require(
            fits and (heard is None or len(heard) > 0), f"subsets must be torch.bool (S, {', '.join(map(str, sizes))})"
        )
        return heard

    return subsets


def _on_action(hook: Hook) -> Hook:
    def on_action(self: Defense, request: ActionRequest, memory: Memory) -> ActionVerdicts:
        before = _copied(memory)
        verdicts: ActionVerdicts = _called(hook, self, request, memory)
        space = self.team_shape.actions
        _typed("resample", verdicts.resample, request.agent.shape, torch.float64)
        _typed("replace", verdicts.replace, request.action.shape, space.dtype)
        chance, chosen = verdicts.resample, verdicts.replace
        require(chance is None or ((chance >= 0) & (chance <= 1)).all(), "resample is no chance in [0, 1]")
        known = chosen is None or (space.valid(chosen) | space.left_alone(chosen)).all()
        require(known, f"replace must be {space.expected}, or {space.none}")
        some = request.world > 0
        rows = {name: getattr(request, name)[some] for name in ("world", "agent", "logits", "action", "committed")}
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
        _typed("shut", responses.shut, (worlds, agents), torch.int64)
        _typed("rekey", responses.rekey, (worlds, agents), torch.bool)
        for name in ("quarantine", "shut"):
            steps = getattr(responses, name)
            require(steps is None or (steps >= 0).all(), f"{name} is no number of steps")
        return responses

    return respond
