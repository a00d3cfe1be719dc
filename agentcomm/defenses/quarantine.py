"""quarantine: close a link for some steps after other defenses have refused messages that came in by it.

Refusals count against the link that a message came in by, not against the sender it claims: else an attacker could
get honest agents closed out by forging bad messages in their names. Whoever attacks on a link can close it that way,
as it could by dropping its messages.

With ``growth`` a link that was closed before stays closed longer each time, so that whoever attacks again after it was
re-admitted has fewer and fewer tries. With ``reselect`` receivers hear the next best sender of their graph while a link
is closed, if the graph has not linked them to everybody already.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig, needs_judge
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.verdicts import ExchangeOutcome, Responses

LONGEST = 10**6  # steps


class QuarantineConfig(DefenseConfig):
    """Arguments of ``quarantine``."""

    limit: int = Field(3, ge=1, description="refused messages after which a link is closed")
    steps: int = Field(5, ge=1, description="steps for which it is closed")
    growth: float = Field(1.0, ge=1, description="factor by which each further closing of a link lasts longer")
    reselect: bool = Field(False, description="hear the next best sender of the graph while a link is closed")


class Quarantine(Defense[QuarantineConfig]):
    """Counts refusals per link; needs other defenses that refuse."""

    order = "response"
    answers = ("aa.l2.behavior_auditing_and_responsibility_tracing",)
    adaptive = ("sleeper", "frame:how=tamper")
    history = None

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Patient, and strict."""
        return {"": {}, "strict": {"limit": 1, "steps": 3, "growth": 2.0, "reselect": True}}

    def __init__(self, config: QuarantineConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        self.reselects = config.reselect

    def memory(self) -> dict[str, Tensor]:
        """By link, [B, N, N + 1]: ``refused`` int64 since it was last closed, and ``closings``, how often it was.

        The last column is for no link.
        """
        s = self.team_shape
        sizes = (s.num_worlds, s.num_agents, s.num_agents + 1)
        zero = torch.zeros(sizes, dtype=torch.int64, device=s.device)
        return {"refused": zero, "closings": zero.clone()}

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs another defense that refuses messages; to reselect, a graph that leaves somebody out."""
        missing = super().unmet(deployment) or needs_judge(self, deployment)
        if missing is None and self.reselects and deployment.shape.degree >= deployment.shape.num_agents - 1:
            return "with reselect=true it needs a sparser topology: agents of this team may hear all others already"
        return missing

    def respond(self, outcome: ExchangeOutcome, memory: dict[str, Tensor]) -> Responses:
        """Close links that have reached the limit, and begin to count from 0."""
        count, closings = memory["refused"], memory["closings"]
        for by, where in outcome.refused.items():
            if by not in (self.name, "gate"):  # what is closed already says nothing about anybody
                count.scatter_add_(2, outcome.link, where.long())
        count[..., -1] = 0
        full = count >= self.config.limit
        count.masked_fill_(full, 0)
        steps = (self.config.steps * self.config.growth ** closings.double()).clamp(max=LONGEST).long()
        closings += full
        return Responses(quarantine=(full * steps)[..., :-1])
