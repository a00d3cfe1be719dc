"""Attacks that cheat: each tries to do or keep more than it declares, which is to change messages on edges a little."""

from __future__ import annotations

import collections
import gc
import inspect
import random
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import noted
import numpy as np
import torch
from torch import Tensor

from agentcomm.base.seeds import derive
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.edits import Envelopes, Fragments, MessageEdits
from agentcomm.contracts.forging import receivers, written
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.threat_model import Budget, Position, ThreatModel
from agentcomm.contracts.traffic import HEADER
from agentcomm.contracts.views import ActionView, MessageView
from agentcomm.wire.keyring import Keyring

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


# ---- what it returns


class Liar(Tensor):
    """Says True to everything that it is combined with."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = [a.as_subclass(Tensor) if isinstance(a, Liar) else a for a in args]
        out = func(*plain, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        return torch.ones_like(out).as_subclass(Liar) if name in ("__and__", "__rand__", "bitwise_and") else out


class TensorSubclass(Cheat):
    powers, budget, position = frozenset({"drop"}), Budget(per_step=1), LINK

    def on_messages(self, view: MessageView) -> MessageEdits:
        return MessageEdits(drop=torch.ones_like(view.reach).as_subclass(Liar))


class ShadowedMethod(TensorSubclass):
    """A plain tensor, on which attributes stand in for methods."""

    powers, budget, position = frozenset({"read", "modify"}), Budget(norm=0.1), EDGE

    def on_messages(self, view: MessageView) -> MessageEdits:
        edits: Any = self.large(view)
        shadow: Any = edits.change
        shadow.abs = shadow.clone = shadow.detach = lambda: torch.zeros_like(view.payload)
        return edits  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Twice(MessageEdits):
    """Edits that could answer differently the second time."""


class Two(Envelopes):
    """Envelopes whose payload is another one each time it is read."""

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        return torch.rand_like(value) if name == "payload" else value


class ReplayTocTou(Cheat):
    powers, budget, slots = frozenset({"read", "replay"}), Budget(), 1
    kind: ClassVar[type[Envelopes]] = Envelopes
    outer: ClassVar[type[MessageEdits]] = Twice

    def on_messages(self, view: MessageView) -> MessageEdits:
        first = view.reach.int().argmax(-1, keepdim=True)
        header = {name: getattr(view, name).gather(2, first) for name in HEADER}
        payload = view.payload.gather(2, first.unsqueeze(-1).expand(-1, -1, -1, view.width))
        return self.outer(inject=self.kind(where=view.reach.gather(2, first), payload=payload, **header))


class ReplayTwice(ReplayTocTou):
    kind, outer = Two, MessageEdits


class Nothing(Cheat):
    def on_messages(self, view: MessageView) -> MessageEdits:
        return None  # type: ignore[return-value]


class NaNs(Cheat):
    budget = Budget()

    def on_messages(self, view: MessageView) -> MessageEdits:
        return self.large(view, float("nan"))


class Huge(Cheat):
    budget = Budget()

    def on_messages(self, view: MessageView) -> MessageEdits:
        return self.large(view, 3e38)


class Ints(Cheat):
    powers = frozenset({"drop"})

    def on_messages(self, view: MessageView) -> MessageEdits:
        return MessageEdits(drop=view.reach.long())


class Doubles(Cheat):
    def on_messages(self, view: MessageView) -> MessageEdits:
        edits = self.large(view)
        assert edits.change is not None
        return replace(edits, change=edits.change.double())


class BigBegin(Cheat):
    """As many fragments as fit into no memory."""

    powers, budget, position = frozenset({"inject"}), Budget(), NEWCOMER

    def on_messages(self, view: MessageView) -> MessageEdits:
        begin = torch.zeros(view.reach.shape, dtype=torch.int64)
        begin[0, 0, 0] = 2**34
        return MessageEdits(fragments=Fragments(begin, view.reach.clone(), view.reach.clone()))


class Expanded(Cheat):
    """A huge tensor that takes no memory until it is copied."""

    def on_messages(self, view: MessageView) -> MessageEdits:
        return MessageEdits(modify=view.reach, change=torch.zeros(1).expand(2**50))


# ---- names and keys of others


class Origin(Cheat):
    powers, budget, position, slots = frozenset({"inject"}), Budget(), NEWCOMER, 1

    def forged(self, view: MessageView) -> Envelopes:
        receiver = receivers(self.team_shape)
        where, payload = torch.ones_like(receiver, dtype=torch.bool), torch.full((*receiver.shape, view.width), 3.0)
        return written(view, self.team_shape, where, payload, (receiver + 1) % self.team_shape.num_agents, sign=False)

    def on_messages(self, view: MessageView) -> MessageEdits:
        made = self.forged(view)
        object.__setattr__(made, "origin", made.sender)
        return MessageEdits(inject=made)


class OthersKey(Origin):
    def on_messages(self, view: MessageView) -> MessageEdits:
        made = self.forged(view)
        return MessageEdits(inject=replace(made, key=made.sender, seal=torch.full_like(made.sender, 12345)))


class SeededKeys(Origin):
    """Draws the team's keys from the public seeds, and seals in the victim's name."""

    def on_messages(self, view: MessageView) -> MessageEdits:
        team, made = self.team_shape, self.forged(view)
        seed = derive(1_000_003, "network", 0, self.name)  # evaluation.seed, the team's seed and its own label
        generator = torch.Generator().manual_seed(derive(seed, "keys"))
        ring = Keyring(team.num_agents, team.width, generator, team.device, team.num_worlds)
        made = replace(made, key=made.sender, expiry=made.sent_at + 16)
        sealed: Any = made
        return MessageEdits(inject=replace(made, seal=ring.tag(sealed, made.sender, ring.digest(made.payload))))


# ---- what is not its own


class Monkeypatch(Cheat):
    def on_messages(self, view: MessageView) -> MessageEdits:
        from agentcomm.guards.base import GuardBase
        from agentcomm.guards.permits import Permits

        GuardBase.spend = lambda self, wanted, remaining: wanted  # type: ignore[method-assign]
        Permits.change = lambda self, modify, change: (modify, change)  # type: ignore[method-assign]
        return self.large(view)


class GcWeights(Cheat):
    def on_messages(self, view: MessageView) -> MessageEdits:
        for found in gc.get_objects():
            if isinstance(found, CommPolicy):
                with torch.no_grad():
                    for parameter in found.parameters():
                        parameter.zero_()
        return MessageEdits()


class GraphWeights(Cheat):
    """From what ``predict_logits`` returns to the weights."""

    knows = "policy"

    def on_messages(self, view: MessageView) -> MessageEdits:
        with torch.enable_grad():
            change = torch.zeros((*view.reach.shape, view.width), requires_grad=True)
            todo: list[Any] = [view.predict_logits(change).grad_fn]
        while todo:
            node = todo.pop()
            if node is None:
                continue
            if hasattr(node, "variable") and node.variable is not change:
                node.variable.data.zero_()
            todo += [before for before, _ in node.next_functions]
        return MessageEdits()


class Closure(Cheat):
    """Reads all traffic in the closure of ``predict_logits``."""

    knows, position = "policy", LINK

    def on_messages(self, view: MessageView) -> MessageEdits:
        for cell in view.predict_logits.__closure__:  # type: ignore[attr-defined]
            if hasattr(cell.cell_contents, "origin"):
                noted.FOUND["Closure"] = int(cell.cell_contents.present.sum()) - int(view.reach.sum())
        return MessageEdits()


class OtherMemory(Cheat):
    """Writes into the memory of another attack."""

    def on_messages(self, view: MessageView) -> MessageEdits:
        from agentcomm.guards.base import GuardBase

        for found in gc.get_objects():
            if isinstance(found, GuardBase) and found.attack is not self:
                for tensor in found.memory.tensors.values():
                    tensor.fill_(7)
        return MessageEdits()


class Judge(Cheat):
    """Changes the record of the episodes when asked whether it succeeded."""

    budget = Budget(per_step=0)

    def succeeded(self, attacked: Episodes, clean: Episodes) -> Tensor:
        attacked.total_reward.fill_(-99.0)
        attacked.success.fill_(False)
        attacked.length.fill_(20)
        clean.total_reward.fill_(99.0)
        return torch.ones_like(attacked.success)


class ControlPeek(Cheat):
    """Does nothing in its own control."""

    budget = Budget()

    def on_messages(self, view: MessageView) -> MessageEdits:
        return MessageEdits() if self.config.noop_control else self.large(view)


class Exits(Cheat):
    def on_messages(self, view: MessageView) -> MessageEdits:
        raise SystemExit(0)


class ActPeek(Cheat):
    """Draws the secret that its actions encode ahead of the guard, from the generator that it is shown."""

    powers, knows, budget = frozenset({"act"}), "policy", Budget(deviation=1e-9)
    position = Position(kind="node", node=0)

    def secrets(self) -> int:
        return 2**10

    def memory(self) -> dict[str, Tensor]:
        return {"secret": torch.full((self.team_shape.num_worlds,), -1)}

    def on_action(self, view: ActionView) -> Tensor:
        peek = torch.Generator()
        peek.set_state(view.generator.get_state())
        secret, fresh = view.memory["secret"], torch.randint(2**10, (self.team_shape.num_worlds,), generator=peek)
        secret[secret < 0] = fresh[secret < 0]
        return view.probability.unsqueeze(1).expand(-1, 2**10, -1)
