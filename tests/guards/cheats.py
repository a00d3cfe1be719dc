"""Attacks that cheat: each tries to do or keep more than it declares, which is to change messages on edges a little."""

from __future__ import annotations

import collections
import inspect
import random
from typing import Any, ClassVar

import noted
import numpy as np
import torch
from torch import Tensor

from agentcomm.contracts.attack import Attack
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Budget, Position, ThreatModel
from agentcomm.contracts.traffic import HEADER
from agentcomm.contracts.views import MessageView

EDGE, LINK, NEWCOMER = Position(kind="edge"), Position(kind="edge", links=((0, 1),)), Position(kind="newcomer")
CHEATS: dict[str, type[Attack]] = {}


class Cheat(Attack):
    """Its threat model, and what it may do: add 0.1 to every coordinate of one message per step."""

    powers: ClassVar[Any] = frozenset({"read", "modify"})
    knows: ClassVar[Any] = "none"
    budget: ClassVar[Budget] = Budget(per_step=1, norm=0.1)
    position: ClassVar[Position] = EDGE
    slots: ClassVar[int] = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        CHEATS[cls.__name__] = cls

    def threat_model(self) -> ThreatModel:
        return ThreatModel(self.position, self.powers, self.knows, self.budget)

    def injections(self) -> int:
        return self.slots

    def honest(self, view: MessageView) -> MessageEdits:
        change = torch.full((*view.reach.shape, view.width), 0.1)
        return MessageEdits(modify=view.reach & (view.remaining > 0).view(-1, 1, 1), change=change)

    def large(self, view: MessageView, size: float = 1e3) -> MessageEdits:
        return MessageEdits(modify=view.reach.clone(), change=torch.full((*view.reach.shape, view.width), size))

    def on_messages(self, view: MessageView) -> MessageEdits:
        return self.honest(view)


class Honest(Cheat):
    """Keeps to it."""


# ---- what it is shown, and state outside its memory


class ViewInPlace(Cheat):
    def on_messages(self, view: MessageView) -> MessageEdits:
        edits = self.honest(view)
        for name in ("payload", *HEADER, "reach", "remaining", "step"):
            shown = getattr(view, name)
            shown.fill_(0 if shown.dtype == torch.bool else 10**6)
        return edits


class AttrInt(Cheat):
    count = 0

    def on_messages(self, view: MessageView) -> MessageEdits:
        self.count += 1
        noted.FOUND["AttrInt"] = max(noted.FOUND.get("AttrInt", 0), self.count)
        return self.honest(view)


class AttrDeque(Cheat):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.kept: collections.deque[int] = collections.deque()

    def on_messages(self, view: MessageView) -> MessageEdits:
        self.kept.append(1)
        noted.FOUND["AttrDeque"] = len(self.kept)
        return self.honest(view)


class AttrModule(Cheat):
    """A learning attacker that trains an ``nn.Module`` as it goes."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.net = torch.nn.Linear(2, 2)
        torch.nn.init.zeros_(self.net.weight)

    def on_messages(self, view: MessageView) -> MessageEdits:
        with torch.no_grad():
            self.net.weight.add_(1)
        noted.FOUND["AttrModule"] = float(self.net.weight.mean())
        return self.honest(view)


class AttrClass(Cheat):
    seen = 0

    def on_messages(self, view: MessageView) -> MessageEdits:
        type(self).seen += 1
        noted.FOUND["AttrClass"] = type(self).seen
        return self.honest(view)


class Defaults(Cheat):
    def on_messages(self, view: MessageView, kept: list[int] = []) -> MessageEdits:  # noqa: B006
        kept.append(1)
        noted.FOUND["Defaults"] = len(kept)
        return self.honest(view)


CALLS: collections.Counter[str] = collections.Counter()


class Global(Cheat):
    def on_messages(self, view: MessageView) -> MessageEdits:
        CALLS["all"] += 1
        noted.FOUND["Global"] = CALLS["all"]
        return self.honest(view)


class MemoryRow(Cheat):
    """One row more than there are worlds, which nobody resets."""

    def memory(self) -> dict[str, Tensor]:
        return {"m": torch.zeros(self.team_shape.num_worlds + 1)}


class MemoryResize(Cheat):
    def memory(self) -> dict[str, Tensor]:
        return {"m": torch.zeros(self.team_shape.num_worlds)}

    def on_messages(self, view: MessageView) -> MessageEdits:
        view.memory["m"].resize_(self.team_shape.num_worlds + 1)
        return self.honest(view)


class CrossWorld(Cheat):
    """Uses in all worlds what it saw in the first."""

    def on_messages(self, view: MessageView) -> MessageEdits:
        edits = self.honest(view)
        assert edits.change is not None
        edits.change[1:] = view.payload[:1].sign() * 0.1
        return edits


class TorchRng(Cheat):
    def on_messages(self, view: MessageView) -> MessageEdits:
        torch.manual_seed(1)
        return self.honest(view)


class OtherRng(Cheat):
    def on_messages(self, view: MessageView) -> MessageEdits:
        random.seed(1)
        np.random.seed(1)
        return self.honest(view)


class DefaultDtype(Cheat):
    def on_messages(self, view: MessageView) -> MessageEdits:
        torch.set_default_dtype(torch.float64)
        return MessageEdits()


class Reads(Cheat):
    powers = frozenset({"modify"})

    def on_messages(self, view: MessageView) -> MessageEdits:
        noted.FOUND["Reads"] = view.payload
        return MessageEdits()


# ---- its threat model


class BudgetObject(Cheat):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.own = Budget(per_step=1, norm=0.1)

    def threat_model(self) -> ThreatModel:
        return ThreatModel(self.position, self.powers, self.knows, self.own)

    def on_messages(self, view: MessageView) -> MessageEdits:
        self.own.__dict__.update(per_step=None, norm=None)
        return self.large(view)


class ShownThreat(BudgetObject):
    """The same by the threat model that its view shows."""

    def on_messages(self, view: MessageView) -> MessageEdits:
        view.threat.budget.__dict__.update(per_step=None, norm=None)
        object.__setattr__(view.threat, "powers", frozenset({"drop"}))
        return self.large(view)


class PowersObject(Cheat):
    budget = Budget()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.own: Any = {"read"}

    def threat_model(self) -> ThreatModel:
        return ThreatModel(self.position, self.own, self.knows, self.budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        self.own.add("drop")
        return MessageEdits(drop=view.reach.clone())


class Frames(Cheat):
    def on_messages(self, view: MessageView) -> MessageEdits:
        frame = inspect.currentframe()
        assert frame is not None
        assert frame.f_back is not None
        guard = frame.f_back.f_locals["self"]
        object.__setattr__(guard.threat, "budget", Budget())
        object.__setattr__(guard.threat, "powers", frozenset({"drop"}))
        return MessageEdits(drop=view.reach.clone())


class NegativeDelay(Cheat):
    powers = frozenset({"delay"})

    def on_messages(self, view: MessageView) -> MessageEdits:
        return MessageEdits(delay=torch.where(view.reach, -5, 2**62))


class OutOfReach(Cheat):
    powers, budget, position = frozenset({"drop"}), Budget(), LINK

    def on_messages(self, view: MessageView) -> MessageEdits:
        return MessageEdits(drop=torch.ones_like(view.reach))
