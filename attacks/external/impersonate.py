"""impersonate: inject messages that claim to come from another agent.

A newcomer knows no honest payload and sends random tokens. An on-path attacker has read the victim's messages, and
re-sends its first payload of the episode under a fresh header: in distribution, but outdated.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.forging import receivers, tokens, written
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class ImpersonateConfig(AttackConfig):
    """Arguments of ``impersonate``."""

    victim: int | None = Field(None, ge=0, description="agent to pose as; all agents in turn when not given")
    content: Literal["random", "stale"] = Field(
        "random", description="a random token, or the victim's first one of the episode"
    )
    copies: int = Field(1, ge=1, le=16, description="messages per receiver and exchange")


class Impersonate(Attack[ImpersonateConfig]):
    """Sends messages under another agent's name to every other agent, sealed with the attacker's own key."""

    risks = ("aa.l2.agent_spoofing", "ua.l2.identity_spoofing")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Random and stale content, under all names or one."""
        return {"": {"copies": 2}, "stale": {"content": "stale"}, "one victim": {"content": "stale", "victim": 1}}

    def __init__(self, config: ImpersonateConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        if config.victim is not None and config.victim >= team_shape.num_agents:
            raise ValueError(f"victim={config.victim} is not an agent in 0 .. {team_shape.num_agents - 1}")

    def threat_model(self) -> ThreatModel:
        """A newcomer that injects, or (``stale``) an on-path attacker that reads and injects."""
        if self.config.content == "random":
            return ThreatModel(Position(kind="newcomer"), frozenset({"inject"}), "protocol", self.config.budget)
        return ThreatModel(Position(kind="edge"), frozenset({"read", "inject"}), "protocol", self.config.budget)

    def injections(self) -> int:
        """``copies`` per receiver."""
        return self.config.copies

    def memory(self) -> dict[str, Tensor]:
        """``first``: [B, rounds, N, D], senders' first payloads; ``heard``: [B, rounds, N] bool, if it sent one."""
        s = self.team_shape
        shape = (s.num_worlds, s.rounds, s.num_agents)
        return {
            "heard": torch.zeros(shape, dtype=torch.bool, device=s.device),
            "first": torch.zeros((*shape, s.width), device=s.device),
        }

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Write one forged envelope per receiver and copy."""
        s = self.team_shape
        receiver = receivers(s, self.config.copies)
        if self.config.victim is not None:
            victim = torch.full_like(receiver, self.config.victim)
        else:
            # Each receiver gets messages in the name of another colleague in every step.
            turn = view.step.view(-1, 1, 1) % max(s.num_agents - 1, 1)
            victim = (receiver + 1 + turn) % s.num_agents
        payload = tokens(view, receiver)
        where = victim != receiver
        if self.config.content == "stale":
            self._listen(view)
            worlds = torch.arange(s.num_worlds, device=s.device).view(-1, 1, 1)
            payload = view.memory["first"][worlds, view.round, victim]
            where = where & view.memory["heard"][worlds, view.round, victim]
        return MessageEdits(inject=written(view, s, where, payload, victim))

    def _listen(self, view: MessageView) -> None:
        """Store the first payload of each sender and round."""
        agents = self.team_shape.num_agents
        reach, sender = view.reach.flatten(1), view.sender.flatten(1)
        slots = torch.arange(reach.shape[1], device=reach.device).expand_as(reach)
        none = reach.shape[1]
        slot = torch.full((len(reach), agents + 1), none, dtype=torch.int64, device=reach.device)
        slot.scatter_reduce_(1, torch.where(reach, sender, agents), slots, "amin")
        slot = slot[:, :agents]
        heard, first = view.memory["heard"][:, view.round], view.memory["first"][:, view.round]
        new = (slot < none) & ~heard
        said = view.payload.flatten(1, 2).gather(1, slot.clamp(max=none - 1).unsqueeze(-1).expand(-1, -1, view.width))
        first.copy_(torch.where(new.unsqueeze(-1), said, first))
        heard |= new
