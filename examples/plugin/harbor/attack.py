"""old_light: show ships what a keeper said in the step before, and louder."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class OldLightConfig(AttackConfig):
    """Arguments of ``old_light``."""

    keeper: int = Field(0, ge=0, description="agent whose messages are changed")
    loudness: float = Field(4.0, gt=0, description="length of the old message, in units of its own")


class OldLight(Attack[OldLightConfig]):
    """An attacker on the path of the links from one agent."""

    risks = ("ua.l1.integrity",)

    def threat_model(self) -> ThreatModel:
        """On the path; reads and modifies what the keeper sends."""
        others = (agent for agent in range(self.team_shape.num_agents) if agent != self.config.keeper)
        position = Position(kind="edge", links=tuple((self.config.keeper, agent) for agent in others))
        return ThreatModel(position, frozenset({"read", "modify"}), "none", self.config.budget)

    def memory(self) -> dict[str, Tensor]:
        """Payloads of the step before, [B, R, N, k, D] for R rounds and k links per receiver."""
        s = self.team_shape
        return {"old": torch.zeros(s.num_worlds, s.rounds, s.num_agents, s.degree, s.width, device=s.device)}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Replace each payload in reach [B, N, M, D], of which the first k slots are links."""
        change, old = -view.payload, view.memory["old"][:, view.round]
        change[:, :, : self.team_shape.degree] += self.config.loudness * old
        old.copy_(view.payload[:, :, : self.team_shape.degree])
        return MessageEdits(modify=view.reach, change=change)
