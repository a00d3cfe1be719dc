"""Every registered defense keeps its contract, and the checks notice those that do not, hook by hook."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from forms import one_defense_of_each_kind
from thinning import one_of_each_plugin, thinned
from torch import Tensor

from agentcomm.base import registry
from agentcomm.conformance import check_defense
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.directory_defense import DirectoryRequests, DirectoryVerdicts
from agentcomm.contracts.verdicts import (
    ActionRequest,
    ActionVerdicts,
    Delivered,
    ExchangeOutcome,
    InboxView,
    Replacement,
    Responses,
    Verdicts,
)

FORMS = registry.forms("defense")


@pytest.mark.parametrize("form", thinned(FORMS, {*one_of_each_plugin(FORMS), *one_defense_of_each_kind()}))
def test_registered_defenses_conform(form: str) -> None:
    name, arguments = FORMS[form]
    check_defense(registry.find("defense", name), arguments)


# ---- screen


class Short(Defense):
    """Refuses what is longer than honest messages are."""

    name, order, history = "short", "content", None

    def memory(self) -> dict[str, Tensor]:
        return {"refused": torch.zeros(self.team_shape.num_worlds)}

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        refuse = delivered.present & (delivered.payload.norm(dim=-1) > 1.01 * self.team_shape.width**0.5)
        memory["refused"] += refuse.sum((1, 2))
        return Verdicts(refuse=refuse)


class Paranoid(Short):
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(refuse=delivered.sender == 0)


class SaysSo(Paranoid):
    lossless = False


class Scribbles(Short):
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        delivered.payload.clamp_(-1, 1)
        return Verdicts()


class SwapsMemory(Short):
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        memory["refused"] = memory["refused"] + 1
        return Verdicts()


class WrongVerdict(Short):
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(refuse=delivered.present[:, :1])


class Divides(Short):
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(scale=torch.full(delivered.present.shape, float("inf")))


class ScoresNothing(Short):
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(score=torch.full(delivered.present.shape, float("nan")))


class Crowd(Short):
    lossless = False

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        length = delivered.payload.norm(dim=-1).masked_fill(~delivered.present, 0.0)
        return Verdicts(refuse=delivered.present & (length > 1.01 * length[0].mean()))


class FillsIn(Short):
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(replace=Replacement(~delivered.present, torch.zeros_like(delivered.payload)))


class BelievesLengths(Short):
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(score=delivered.payload.norm(dim=-1).masked_fill(~delivered.present, 0.0))


class Poisoned(Short):
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        memory["refused"] += delivered.payload.masked_fill(~delivered.present.unsqueeze(-1), 0.0).sum((1, 2, 3))
        return Verdicts()


class Gambles(Short):
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(refuse=delivered.present & (torch.rand(delivered.present.shape) < 0))


class RepairsAll(Short):
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(repair=Replacement(delivered.present, torch.zeros_like(delivered.payload)))


class KnowsWhoIsWho(Short):
    needs_identity = True


class AnswersAnything(Short):
    answers = ("aa.l2.luck",)


class HalfAPayload(Short):
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(replace=Replacement(delivered.present, delivered.payload[..., :1]))


class TooEarly(Short):
    order = "freshness"

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(replace=Replacement(delivered.present, delivered.payload))


class SeesGhosts(Short):
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        memory["refused"] += (delivered.payload.norm(dim=-1) > 1e6).sum((1, 2))
        return Verdicts()


class Unsealed(Short):
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(score=delivered.sealed_by_sender.float())


class NoOrder(Short):
    order = "last"  # type: ignore[assignment]


class LooseConfig(DefenseConfig):
    model_config = {"extra": "allow"}  # noqa: RUF012


class Loose(Short):
    Config = LooseConfig


class Idle(Defense):
    order = "content"


class Forgetful(Short):
    history = 0


class Boastful(Short):
    history = None

    def memory(self) -> dict[str, Tensor]:
        return {}

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts()


class Hasty(Short):
    latency = -1


# ---- aggregate


class Mean(Defense):
    """Everybody hears the mean."""

    order, lossless, changes_payloads = "trust", False, True

    def aggregate(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        count = inbox.present.sum(-1, keepdim=True).clamp_min(1).unsqueeze(-1)
        return (inbox.payload.nan_to_num(0, 0, 0).sum(2, keepdim=True) / count).expand_as(inbox.payload)


class Undeclared(Mean):
    changes_payloads = False


class PassesOn(Mean):
    def aggregate(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        return inbox.payload.mean(2, keepdim=True).expand_as(inbox.payload)


class NoPrice(Mean):
    lossless = True


class OneForAll(Mean):
    def aggregate(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        return inbox.payload.mean(2)


class MixesWorlds(Mean):
    def aggregate(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        return inbox.payload.nan_to_num(0, 0, 0).mean(0, keepdim=True).expand_as(inbox.payload)


class DividesByNothing(Mean):
    def aggregate(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        return inbox.payload / 0.0


# ---- on_action


class Shield(Defense):
    """Nobody ever does the last action."""

    order, lossless, any_actions = "response", False, False

    def on_action(self, request: ActionRequest, memory: dict[str, Tensor]) -> ActionVerdicts:
        last = request.logits.shape[-1] - 1
        return ActionVerdicts(replace=torch.where(request.action == last, 0, -1))


class SilentShield(Shield):
    lossless = True


class NoSuchAction(Shield):
    def on_action(self, request: ActionRequest, memory: dict[str, Tensor]) -> ActionVerdicts:
        return ActionVerdicts(replace=request.action + 1)


class Likely(Shield):
    def on_action(self, request: ActionRequest, memory: dict[str, Tensor]) -> ActionVerdicts:
        return ActionVerdicts(resample=torch.full_like(request.action, 2.0, dtype=torch.float64))


class SingleChance(Shield):
    def on_action(self, request: ActionRequest, memory: dict[str, Tensor]) -> ActionVerdicts:
        return ActionVerdicts(resample=torch.full_like(request.action, 0.5, dtype=torch.float32))


class Herd(Shield):
    def on_action(self, request: ActionRequest, memory: dict[str, Tensor]) -> ActionVerdicts:
        return ActionVerdicts(replace=request.action[:1].expand_as(request.action))


class Remembers(Shield):
    def on_action(self, request: ActionRequest, memory: dict[str, Tensor]) -> ActionVerdicts:
        self.calls = getattr(self, "calls", 0) + 1
        return ActionVerdicts(replace=torch.full_like(request.action, (self.calls - 1) // 6 % 2))


# ---- on_directory


class Proved(Defense):
    """Takes proved cards only."""

    order = "authenticate"

    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        return DirectoryVerdicts(refuse_cards=~requests.card_proved)


class WrongCards(Proved):
    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        return DirectoryVerdicts(refuse_cards=requests.card_name)


class TakesIt(Proved):
    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        requests.card_sent.zero_()
        return DirectoryVerdicts()


class Mute(Proved):
    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        if requests.answer is None:
            return DirectoryVerdicts()
        return DirectoryVerdicts(answer=replace(requests.answer, slot=torch.full_like(requests.answer.slot, -1)))


class OneBadWorld(Proved):
    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        return DirectoryVerdicts(refuse_ratings=requests.rating_sent[:1].expand_as(requests.rating_sent))


# ---- respond


class Strict(Defense):
    """One refused message closes a link."""

    order = "response"

    def respond(self, outcome: ExchangeOutcome, memory: dict[str, Tensor]) -> Responses:
        return Responses(quarantine=self.count(outcome)[..., :-1])

    def count(self, outcome: ExchangeOutcome) -> Tensor:
        worlds, agents = outcome.arrived.shape[:2]
        count = torch.zeros(worlds, agents, agents + 1, dtype=torch.int64)
        for by, where in outcome.refused.items():
            count.scatter_add_(2, outcome.link, where.long() * (by != self.name))
        return count


class TooManyLinks(Strict):
    def respond(self, outcome: ExchangeOutcome, memory: dict[str, Tensor]) -> Responses:
        return Responses(quarantine=self.count(outcome))


class BackInTime(Strict):
    def respond(self, outcome: ExchangeOutcome, memory: dict[str, Tensor]) -> Responses:
        return Responses(quarantine=-self.count(outcome)[..., :-1])


class ClosesEverything(Strict):
    def respond(self, outcome: ExchangeOutcome, memory: dict[str, Tensor]) -> Responses:
        return Responses(quarantine=torch.ones_like(self.count(outcome)[..., :-1]))


class ClosesAllWorlds(Strict):
    def respond(self, outcome: ExchangeOutcome, memory: dict[str, Tensor]) -> Responses:
        return Responses(quarantine=self.count(outcome)[:1, :, :-1].expand(outcome.arrived.shape[0], -1, -1))


@pytest.mark.parametrize("defense", [Short, SaysSo, Mean, Shield, Proved, Strict])
def test_the_smallest_defenses_conform(defense: type[Defense]) -> None:
    check_defense(defense)


BROKEN: list[tuple[Any, str]] = [
    (Paranoid, "clean messages are refused"),
    (Scribbles, "screen changes payload"),
    (SwapsMemory, "in place"),
    (WrongVerdict, "refuse must be torch.bool"),
    (Divides, "scale is not finite"),
    (ScoresNothing, "score is not finite"),
    (Crowd, "not independent"),
    (FillsIn, "messages that are not there"),
    (BelievesLengths, "score is not finite under infinite payloads"),
    (Poisoned, "infinite payloads leave such numbers in its memory"),
    (Gambles, "global generator"),
    (RepairsAll, "repairs messages that no defense has refused"),
    (KnowsWhoIsWho, "IdentityConfig"),
    (AnswersAnything, "'aa.l2.luck' is no id"),
    (Undeclared, "set changes_payloads"),
    (PassesOn, "aggregates infinite payloads"),
    (HalfAPayload, "replace.payload must be torch.float32"),
    (TooEarly, "too early to replace"),
    (SeesGhosts, "judges payloads of messages that are not there"),
    (Unsealed, "set needs_seal"),
    (NoOrder, "order is 'last'"),
    (Loose, "accepts unknown keys"),
    (Idle, "overrides no hook"),
    (Forgetful, "history is 0, but it has a memory"),
    (Boastful, "history is None, but it has no memory"),
    (Hasty, "latency is -1"),
    (NoPrice, "clean messages are refused or changed"),
    (OneForAll, "aggregate must be torch.float32"),
    (MixesWorlds, "not independent"),
    (DividesByNothing, "not finite"),
    (SilentShield, "greedy actions are changed"),
    (NoSuchAction, "replace must be whole numbers in 0 .. 4"),
    (Likely, "resample is no chance"),
    (SingleChance, "resample must be torch.float64"),
    (Herd, "not independent"),
    (Remembers, "kept outside memory"),
    (WrongCards, "refuse_cards must be torch.bool"),
    (TakesIt, "on_directory changes card_sent"),
    (Mute, "clean look-ups are answered differently"),
    (OneBadWorld, "not independent"),
    (TooManyLinks, "quarantine must be torch.int64"),
    (BackInTime, "quarantine is no number of steps"),
    (ClosesEverything, "clean messages are refused"),
    (ClosesAllWorlds, "not independent"),
]


@pytest.mark.parametrize(("broken", "message"), BROKEN)
def test_broken_defenses_are_noticed(broken: type[Defense], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_defense(broken)
