"""A base for attacks that choose, in every step, one of a few actions for each message slot.

The choice is made from the attacker's observation of the step's first exchange, and holds for all exchanges of the
step. With power ``modify`` a message is left alone, negated (``flip``), or moved as close as the bound allows to one of
a few messages of honest agents (``say_1``, ``say_2``, ...); these were read on the wire, so the attacker needs no
knowledge of the policy. With power ``drop`` a message is kept or masked.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Budget, Position, ThreatModel
from agentcomm.contracts.views import MessageView

Handle = Literal["modify", "drop"]
CLOCK = 16.0  # unit in which the step is observed, in steps


S_co = TypeVar("S_co", bound=AttackConfig, default=AttackConfig, covariant=True)


class Steered(Attack[S_co]):
    """An attack with one choice per message slot and step. Implement :meth:`choose`.

    Args:
        config: Arguments of the attack.
        team_shape: Shape of the attacked team.
        place: Position of the attacker.
        handle: Its power over messages.
        budget: Limits; ``norm`` bounds the change of every entry of a payload.
        phrases: [R, K, D], K messages of honest agents for each of the step's exchanges.
    """

    def __init__(
        self, config: S_co, team_shape: TeamShape, place: Position, handle: Handle, budget: Budget, phrases: Tensor
    ) -> None:
        super().__init__(config, team_shape)
        self.place, self.handle, self.budget = place, handle, budget
        self.phrases = phrases.to(team_shape.device)
        self.threat = ThreatModel(place, frozenset({"read", handle}), "protocol", budget)
        limits = [limit for limit in (budget.per_episode, budget.per_step) if limit is not None]
        self._most = float(max(limits[0], 1)) if limits else 1.0

    @property
    def slots(self) -> int:
        """Number of message slots: N * k."""
        return self.team_shape.num_agents * self.team_shape.degree

    @property
    def actions(self) -> tuple[str, ...]:
        """Names of the choices for a message."""
        if self.handle == "drop":
            return ("keep", "mask")
        return ("leave", "flip", *(f"say_{number + 1}" for number in range(self.phrases.shape[1])))

    @property
    def sight_width(self) -> int:
        """O of :meth:`sight`."""
        return self.team_shape.width + 2 * self.team_shape.num_agents + 3

    @abstractmethod
    def choose(self, sight: Tensor, able: Tensor, view: MessageView) -> Tensor:
        """Choose an action for each message of this step.

        Args:
            sight: [B, N * k, O], see :meth:`sight`.
            able: [B, N * k] bool, messages in reach while budget is left.
            view: The step's first exchange.

        Returns:
            [B, N * k] int64, indices into ``actions``.
        """

    def threat_model(self) -> ThreatModel:
        """Reads, and modifies or drops, at the given position."""
        return self.threat

    def memory(self) -> dict[str, Tensor]:
        """``choice``: [B, N * k] int64, the step's choices."""
        shape = (self.team_shape.num_worlds, self.slots)
        return {"choice": torch.zeros(shape, dtype=torch.int64, device=self.team_shape.device)}

    def sight(self, view: MessageView) -> tuple[Tensor, Tensor]:
        """The attacker's observation of each message [B, N * k, O], and whether it can act on it [B, N * k] bool.

        An observation has the payload, the claimed sender, the receiver, whether there is a message, the step, and the
        budget left. The attacker can act on messages in reach while budget is left.
        """
        agents, degree = self.team_shape.num_agents, self.team_shape.degree
        there = view.reach[..., :degree]
        left = (view.remaining / self._most).clamp(0, 1).float()
        clock = torch.stack([view.step / CLOCK, left], -1)
        names = torch.eye(agents, device=there.device)
        sender = names[view.sender[..., :degree].clamp(0, agents - 1)]
        receiver = names.view(1, agents, 1, agents).expand_as(sender)
        parts = [
            view.payload[..., :degree, :],
            sender * there.unsqueeze(-1),
            receiver,
            there.unsqueeze(-1).float(),
            clock.view(-1, 1, 1, 2).expand(*there.shape, 2),
        ]
        able = there & (view.remaining > 0).view(-1, 1, 1)
        return torch.cat(parts, -1).flatten(1, 2), able.flatten(1)

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Carry out the choices, as far as the budget allows."""
        if view.round == 0:
            view.memory["choice"].copy_(self.choose(*self.sight(view), view))
        degree = self.team_shape.degree
        choice = torch.zeros_like(view.reach, dtype=torch.int64)
        choice[..., :degree] = view.memory["choice"].view(len(choice), self.team_shape.num_agents, degree)
        asked = (view.reach & (choice > 0)).flatten(1)
        some = (asked & (asked.cumsum(1) <= view.remaining.unsqueeze(1))).view_as(choice)
        if self.handle == "drop":
            return MessageEdits(drop=some)
        wanted = -view.payload
        if self.phrases.shape[1]:
            spoken = self.phrases[view.round][(choice - 2).clamp_min(0)]
            wanted = torch.where((choice > 1).unsqueeze(-1), spoken, wanted)
        change = wanted - view.payload
        if self.budget.norm is not None:
            change = change.clamp(-self.budget.norm, self.budget.norm)
        return MessageEdits(modify=some, change=change)
