"""quarantine: close a link for some steps after other defenses have refused messages that came in by it.

Refusals count against the link that a message came in by, not against the sender it claims: else an attacker could
get honest agents closed out by forging bad messages in their names. Whoever attacks on a link can close it that way,
as it could by dropping its messages.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig, defense_hooks
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.verdicts import ExchangeOutcome, Responses


class QuarantineConfig(DefenseConfig):
    """Arguments of ``quarantine``."""

    limit: int = Field(3, ge=1, description="refused messages after which a link is closed")
    steps: int = Field(5, ge=1, description="steps for which it is closed")


class Quarantine(Defense[QuarantineConfig]):
    """Counts refusals per link; needs other defenses that refuse."""

    order = "response"
    adaptive = ("sleeper", "frame:how=tamper")
    history = None

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Patient, and strict."""
        return {"": {}, "strict": {"limit": 1, "steps": 3}}

    def memory(self) -> dict[str, Tensor]:
        """``refused`` [B, N, N + 1] int64, by link since it was last closed; the last column is for no link."""
        s = self.team_shape
        sizes = (s.num_worlds, s.num_agents, s.num_agents + 1)
        return {"refused": torch.zeros(sizes, dtype=torch.int64, device=s.device)}

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs another defense that refuses messages."""
        others = [other for other in deployment.defenses if not isinstance(other, Quarantine)]
        if any(other.refuses and "screen" in defense_hooks(type(other)) for other in others):
            return super().unmet(deployment)
        named = ", ".join(other.name for other in others) or "none"
        missing = "it needs another defense that refuses messages, such as authenticate+quarantine"
        return super().unmet(deployment) or f"{missing} (here: {named})"

    def respond(self, outcome: ExchangeOutcome, memory: dict[str, Tensor]) -> Responses:
        """Close links that have reached the limit, and begin to count from 0."""
        count = memory["refused"]
        for by, where in outcome.refused.items():
            if by not in (self.name, "gate"):  # what is closed already says nothing about anybody
                count.scatter_add_(2, outcome.link, where.long())
        count[..., -1] = 0
        full = count >= self.config.limit
        count.masked_fill_(full, 0)
        return Responses(quarantine=full[..., :-1] * self.config.steps)
