"""shut_gate: a receiver under attack stops listening for some steps.

A receiver in whose inbox other defenses keep refusing messages closes its gate: it accepts nothing, and acts on what it
sees by itself. This bounds what an attack that gets some messages through can do to a policy that works without any,
and it is the last resort: honest messages are lost with the others, so an attacker needs only messages that are sure to
be refused to make a team deaf.

Refusals fill a bucket that leaks ``leak`` of them per exchange; above ``limit`` the gate closes, and the bucket is
empty again.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig, needs_judge
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.verdicts import ExchangeOutcome, Responses


class ShutGateConfig(DefenseConfig):
    """Arguments of ``shut_gate``."""

    limit: float = Field(4.0, ge=0, description="refused messages that a receiver bears")
    leak: float = Field(0.5, ge=0, description="refused messages that are forgotten per exchange")
    steps: int = Field(3, ge=1, description="steps for which the gate is closed")


class ShutGate(Defense[ShutGateConfig]):
    """Counts refused messages per receiver; needs other defenses that refuse messages."""

    order = "response"
    answers = ("ua.l1.dos_mitigation",)
    adaptive = ("frame:how=tamper", "sleeper")
    history = None

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A gate that closes at the first refused message."""
        return {"": {"limit": 0, "steps": 1}}

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs a defense that refuses messages."""
        return super().unmet(deployment) or needs_judge(self, deployment)

    def memory(self) -> dict[str, Tensor]:
        """``level`` [B, N], refused messages in each receiver's bucket."""
        s = self.team_shape
        return {"level": torch.zeros(s.num_worlds, s.num_agents, device=s.device)}

    def respond(self, outcome: ExchangeOutcome, memory: dict[str, Tensor]) -> Responses:
        """Close the gates of receivers whose buckets are full."""
        level, new = memory["level"], torch.zeros_like(memory["level"])
        for by, refused in outcome.refused.items():
            if by not in (self.name, "gate"):
                new += refused.sum(-1)
        level.copy_((level - self.config.leak).clamp_min(0.0) + new)
        full = level > self.config.limit
        level.masked_fill_(full, 0.0)
        return Responses(shut=full * self.config.steps)
