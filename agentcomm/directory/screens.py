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
from agentcomm.contracts.cards import Cards
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.directory_defense import Answer, DirectoryRequests, DirectoryVerdicts
from agentcomm.contracts.directory_hook import DirectoryShape
from agentcomm.guards.directory import Permitted

BY_CARD, BY_RATING, BY_AGE, BY_LOOKUP = "card_sent", "rating_sent", "half_open", "trace_name"
REFUSALS = {"refuse_cards": BY_CARD, "refuse_ratings": BY_RATING, "close": BY_AGE, "refuse_traces": BY_LOOKUP}
REFUSALS |= {"turn_away_cards": BY_CARD, "turn_away_requests": "request_sent", "strip": BY_CARD}
CARD = tuple(f"card_{what}" for what in ("sent", "proved", "signed", "known", "changed", "directive"))
PARTS: dict[str, torch.dtype] = {
    **dict.fromkeys((*CARD, "rating_sent", "rating_good", "rating_by_member"), torch.bool),
    **dict.fromkeys(("trace_proved", "own", "request_sent"), torch.bool),
    **dict.fromkeys(("card_name", "rating_name", "half_open", "trace_name"), torch.int64),
}


@dataclass(frozen=True)
class Judged:
    """What all defenses together have decided; True wherever one of them refuses.

    Attributes:
        cards: [W, M] bool, cards not to register.
        cards_away: [W, M] bool, those of them that take none of the hub's time.
        requests_away: [W, E] bool, requests that take none of the hub's time.
        stripped: [W, M] bool, cards whose descriptions no reader is shown.
        ratings: [W, M'] bool, ratings not to book.
        closed: [W, T] bool, half-open requests not to wait for, by age.
        traces: [W, Q] bool, names on traces not to believe.
        answer: The answers as they leave the hub; None where there are none.
    """

    cards: Tensor
    cards_away: Tensor
    requests_away: Tensor
    stripped: Tensor
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
        self.defenses, self.shape = list(defenses), shape
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
            seen["requirement"] = torch.zeros(len(worlds), 0, self.shape.skills, device=worlds.device)
            seen["answer_signed"] = torch.zeros(
                len(worlds), 0, self.shape.listed, dtype=torch.bool, device=worlds.device
            )
            seen |= {**parts, "members": self.shape.members}
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
        return Judged(
            cards=refused["refuse_cards"] | refused["turn_away_cards"],
            cards_away=refused["turn_away_cards"],
            requests_away=refused["turn_away_requests"],
            stripped=refused["strip"],
            ratings=refused["refuse_ratings"],
            closed=refused["close"],
            traces=refused["refuse_traces"],
            answer=answer,
        )


def _nothing(worlds: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(len(worlds), 0, dtype=dtype, device=worlds.device)


def sent_in(done: Sequence[Permitted], renew: Tensor) -> dict[str, Tensor]:
    """What is sent in one step: members' new cards ([B, members] bool), then what each attack sends, in turn."""
    return {
        "card_sent": torch.cat([renew, *(p.where for p in done)], 1),
        "request_sent": torch.cat([renew[:, :0], *(p.empty for p in done)], 1),
        "rating_sent": torch.cat([renew[:, :0], *(p.rated for p in done)], 1),
    }


def requests_of(done: Sequence[Permitted], cards: Cards, claim: Tensor, members: int) -> dict[str, Tensor]:
    """What the cards and ratings of :func:`sent_in` are about, as defenses are shown it.

    Args:
        done: What each attack sends.
        cards: [B, S], those registered.
        claim: [B, members, K], the claims on members' new cards.
        members: Number of members.
    """
    own = torch.arange(members, device=claim.device).expand(len(claim), -1)
    yes, no = torch.ones_like(own, dtype=torch.bool), torch.zeros_like(own, dtype=torch.bool)
    kept, same = cards.of_name(own), cards.claims(claim)
    card: dict[str, list[Tensor]] = {
        "name": [own],
        "proved": [yes],
        "signed": [yes],
        "known": [kept.any(2)],
        "changed": [kept.any(2) & ~(kept & same).any(2)],
        "directive": [no],
    }
    signed = cards.signed(members).unsqueeze(1)
    for p in done:
        kept = cards.of_name(p.cards.principal)
        card["name"].append(p.cards.principal)
        card["proved"].append(p.holds & (p.cards.key == p.cards.principal))
        card["signed"].append(p.holds | (signed & cards.signs(p.cards)).any(2))
        card["known"].append(kept.any(2))
        card["changed"].append(kept.any(2) & ~(kept & cards.same(p.cards)).any(2))
        card["directive"].append(p.cards.directive)
    ratings = {
        "rating_name": torch.cat([own[:, :0], *(_rated(p, "principal", torch.int64) for p in done)], 1),
        "rating_good": torch.cat([no[:, :0], *(_rated(p, "good", torch.bool) for p in done)], 1),
        "rating_by_member": torch.cat(
            [no[:, :0], *(torch.zeros_like(p.rated) for p in done)], 1
        ),  # they report outcomes
    }
    return ratings | {f"card_{name}": torch.cat(values, 1) for name, values in card.items()}


def signed_answers(answer: Answer, cards: Cards, members: int) -> Tensor:
    """[W, Q, k] bool, whether the claims that answers show have been signed with the key on the card."""
    at = answer.slot.clamp_min(0)
    worlds = torch.arange(len(at), device=at.device).view(-1, 1, 1)
    shown = (cards.claim[worlds, at] == answer.claim).all(3)
    return shown & (answer.slot >= 0) & cards.signed(members)[worlds, at]


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
