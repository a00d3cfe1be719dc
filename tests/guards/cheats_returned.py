"""Attacks that cheat with what they return, with the keys of others, or with what is not their own."""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import noted
import torch
from cheats import EDGE, LINK, NEWCOMER, Cheat
from torch import Tensor

from agentcomm.base.seeds import derive
from agentcomm.contracts.edits import Envelopes, Fragments, MessageEdits
from agentcomm.contracts.forging import receivers, written
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.threat_model import Budget, Position
from agentcomm.contracts.traffic import HEADER
from agentcomm.contracts.views import ActionView, MessageView
from agentcomm.wire.keyring import Keyring

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
        return MessageEdits() if self.config.run_as == "control" else self.large(view)


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
