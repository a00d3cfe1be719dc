"""Defenses at a directory: they judge what reaches the hub, and what leaves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.answers import check_tensor
from agentcomm.base.calling import answered, calling
from agentcomm.base.errors import HookError, NumberError
from agentcomm.base.numbers import first_not_finite
from agentcomm.base.state import Memory, State
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.directory_defense import Answer, DirectoryRequests, DirectoryVerdicts
from agentcomm.contracts.directory_hook import DirectoryShape
from agentcomm.guards.directory import Permitted

BY_CARD, BY_RATING, BY_AGE, BY_LOOKUP = "card_sent", "rating_sent", "half_open", "trace_name"
REFUSALS = {"refuse_cards": BY_CARD, "refuse_ratings": BY_RATING, "close": BY_AGE, "refuse_traces": BY_LOOKUP}
PARTS: dict[str, torch.dtype] = {
    **dict.fromkeys(("card_sent", "card_proved", "rating_sent", "rating_good", "rating_by_member"), torch.bool),
    **dict.fromkeys(("trace_proved", "own"), torch.bool),
    **dict.fromkeys(("card_name", "rating_name", "half_open", "trace_name"), torch.int64),
}


@dataclass(frozen=True)
class Judged:
    """What all defenses together have decided; True wherever one of them refuses.

    Attributes:
        cards: [W, M] bool, cards not to register.
        ratings: [W, M'] bool, ratings not to book.
        closed: [W, T] bool, half-open requests not to wait for, by age.
        traces: [W, Q] bool, names on traces not to believe.
        answer: The answers as they leave the hub; None where there are none.
    """

    cards: Tensor
    ratings: Tensor
    closed: Tensor
    traces: Tensor
    answer: Answer | None


class DirectoryScreens(State):
    """The defenses of one directory, with what each of them remembers.

    Args:
        defenses: In their order.
        shape: Sizes of the directory.
    """

    keeps = ("memories",)

    def __init__(self, defenses: Sequence[Defense], shape: DirectoryShape) -> None:
        self.defenses, self.skills = list(defenses), shape.skills
        self.memories = [Memory(_maker(defense, shape)) for defense in self.defenses]

    def reset(self, worlds: Tensor) -> None:
        """Forget the episodes of the given worlds ([W] indices)."""
        for memory in self.memories:
            memory.reset(worlds)

    def judge(self, worlds: Tensor, parts: Mapping[str, Tensor], answer: Answer | None = None) -> Judged:
        """Let each defense judge what is there.

        Args:
            worlds: [W] int64 indices.
            parts: Entries of :class:`~agentcomm.contracts.directory_defense.DirectoryRequests`; the others are empty.
            answer: Answers about to leave the hub.

        Raises:
            HookError: If a defense raises an error, or its verdicts have wrong shapes or types.
            NumberError: If an answer that it changed has a number that is not finite.
        """
        refused = {
            name: torch.zeros_like(parts[by], dtype=torch.bool) if by in parts else _nothing(worlds, torch.bool)
            for name, by in REFUSALS.items()
        }
        seen: dict[str, Any] = {}
        if self.defenses:
            seen = {name: _nothing(worlds, dtype) for name, dtype in PARTS.items()}
            seen["requirement"] = torch.zeros(len(worlds), 0, self.skills, device=worlds.device)
            seen |= parts
        for defense, memory in zip(self.defenses, self.memories, strict=True):
            requests = DirectoryRequests(worlds=worlds, answer=answer, **seen)
            what = f"defense {defense.name!r}"
            with calling(what, "on_directory"):
                verdicts = defense.on_directory(requests, memory.tensors)
            _check(what, verdicts, requests)
            for name, so_far in refused.items():
                wanted = getattr(verdicts, name)
                refused[name] = so_far if wanted is None else so_far | wanted
            answer = answer if verdicts.answer is None else verdicts.answer
        cards, ratings, closed, traces = refused.values()
        return Judged(cards, ratings, closed, traces, answer)


def _nothing(worlds: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(len(worlds), 0, dtype=dtype, device=worlds.device)


def requests_of(done: Sequence[Permitted]) -> dict[str, Tensor]:
    """What attacks send in one step, one attack's after the other's, as defenses are shown it."""
    if not done:
        return {}
    rated = torch.cat([permitted.rated for permitted in done], 1)
    return {
        "card_sent": torch.cat([permitted.where for permitted in done], 1),
        "card_name": torch.cat([permitted.cards.principal for permitted in done], 1),
        "card_proved": torch.cat([p.holds & (p.cards.key == p.cards.principal) for p in done], 1),
        "rating_sent": rated,
        "rating_name": torch.cat([_rated(p, "principal", torch.int64) for p in done], 1),
        "rating_good": torch.cat([_rated(p, "good", torch.bool) for p in done], 1),
        "rating_by_member": torch.zeros_like(rated),  # members report outcomes instead
    }


def _rated(permitted: Permitted, name: str, dtype: torch.dtype) -> Tensor:
    """[B, M'], an entry of an attack's ratings; 0 where it gave none."""
    given: Tensor | None = None if permitted.rating is None else getattr(permitted.rating, name)
    return torch.zeros_like(permitted.rated, dtype=dtype) if given is None else given


def _maker(defense: Defense, shape: DirectoryShape) -> Any:
    return lambda: defense.directory_memory(shape)


def _check(who: str, verdicts: DirectoryVerdicts, requests: DirectoryRequests) -> None:
    answered(verdicts, DirectoryVerdicts, who, "on_directory", "DirectoryVerdicts(...)")
    for what, by in REFUSALS.items():
        check_tensor(who, what, getattr(verdicts, what), tuple(getattr(requests, by).shape), torch.bool)
    if verdicts.answer is None:
        return
    if requests.answer is None:
        raise HookError(f"{who}: there is no answer to change")
    answered(verdicts.answer, Answer, who, "on_directory", "an Answer as answer")
    changed = {field.name: getattr(verdicts.answer, field.name) for field in fields(Answer)}
    for name, value in changed.items():
        given = getattr(requests.answer, name)
        check_tensor(who, f"answer.{name}", value, tuple(given.shape), given.dtype, optional=False)
    if (broken := first_not_finite(changed)) is not None:
        raise NumberError(f"{who}: answer.{broken} (on_directory) is not finite")
