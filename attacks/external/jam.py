"""jam: drop all messages for stretches of time, as a jammer on the same radio band does."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class JamConfig(AttackConfig):
    """Arguments of ``jam``."""

    duty: float = Field(0.5, ge=0, le=1, description="share of the steps that are jammed")
    burst: float = Field(4.0, ge=1, description="mean length of a burst of jamming, in steps")


class Jam(Attack[JamConfig]):
    """Jams all links in bursts, by a two-state Markov chain per world."""

    risks = ("ua.l1.availability",)

    def threat_model(self) -> ThreatModel:
        """On the path of all links; drops and reads nothing."""
        return ThreatModel(Position(kind="edge"), frozenset({"drop"}), "none", self.config.budget)

    def memory(self) -> dict[str, Tensor]:
        """``on``: [B] int64, 1 while it jams, 0 while it does not, -1 at the start of an episode."""
        s = self.team_shape
        return {"on": torch.full((s.num_worlds,), -1, dtype=torch.int64, device=s.device)}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Advance the chain once per step, then drop all messages or none."""
        on, c = view.memory["on"], self.config
        if view.round == 0:
            stop = 1 / c.burst
            start = 1.0 if c.duty == 1 else min(1.0, stop * c.duty / (1 - c.duty))
            chance = torch.where(on < 0, c.duty, torch.where(on == 1, 1 - stop if c.duty < 1 else 1.0, start))
            on.copy_(view.rand(len(on)) < chance)
        return MessageEdits(drop=view.reach & (on == 1).view(-1, 1, 1))
