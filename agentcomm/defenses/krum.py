"""krum: replace the messages of an inbox by the one that is closest to its nearest others, or a mean of a few such.

The score of a message is the sum of its squared distances to its n - f - 2 nearest others, of n messages. Krum takes
the message with the lowest score, multi-Krum the mean of the ``m`` lowest (Blanchard et al., "Machine learning with
adversaries", NeurIPS 2017). With f attackers it needs n > 2 f + 2: an inbox of a team with fewer links is refused, and
one with fewer messages in some step is left alone. In contrast to a median, plain Krum delivers a message that was
sent. It does not stop f attackers that agree with each other near honest messages: their mutual distances are 0, so
they win.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import DefenseConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.defenses.parts.ranking import in_order
from agentcomm.defenses.robust import CenterRule, bounded


class KrumConfig(DefenseConfig):
    """Arguments of ``krum``."""

    f: int = Field(1, ge=0, description="attackers to withstand; an inbox needs more than 2 f + 2 messages")
    m: int = Field(1, ge=1, description="messages with the lowest scores whose mean is taken; 1 is plain Krum")


class Krum(CenterRule[KrumConfig]):
    """Krum and multi-Krum."""

    answers = ("aa.l3.cross_validation", "aa.l3.cross_agent_input_detection")
    adaptive = ("little", "collude", "gradient:adaptive=true")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """The mildest, which fits three messages."""
        return {"": {"f": 0, "m": 1}}

    @property
    def least(self) -> int:
        """More than 2 f + 2 messages."""
        return 2 * self.config.f + 3

    @property
    def advice(self) -> str:
        """The condition."""
        return f"Krum needs n > 2 f + 2 messages (f={self.config.f}); use a denser topology, or a smaller f"

    def unmet(self, deployment: Deployment) -> str | None:
        """The mean is over messages that f attackers cannot all be among: m <= n - f - 2."""
        missing, (f, m) = super().unmet(deployment), (self.config.f, self.config.m)
        degree = deployment.shape.degree
        if missing is None and not deployment.silent and m > degree - f - 2:
            return f"multi-Krum needs m <= n - f - 2 = {degree - f - 2} of n = {degree} messages (m={m}): lower m or f"
        return missing

    def center(self, payload: Tensor, present: Tensor) -> Tensor:
        """The mean of the messages with the lowest scores."""
        f, count, values = self.config.f, present.sum(-1, keepdim=True), bounded(payload)
        values = values.masked_fill(~present.unsqueeze(-1), 0.0)
        score = krum_scores(values, present, count - f - 2)
        taken = torch.minimum(count - f - 2, count.new_tensor(self.config.m)).clamp_min(1)
        rank = score.argsort(-1).argsort(-1)
        weight = (rank < taken) & present
        mean: Tensor = (values * (weight / weight.sum(-1, keepdim=True).clamp_min(1)).unsqueeze(-1)).sum(2)
        return mean


def krum_scores(values: Tensor, present: Tensor, nearest: Tensor) -> Tensor:
    """The sum of each message's smallest squared distances to others of its inbox.

    Args:
        values: [B, N, M, D], finite.
        present: [B, N, M] bool.
        nearest: [B, N, 1] int64, how many distances count; at least one does.

    Returns:
        [B, N, M], infinite where no message is present.
    """
    away = torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist").square()
    both = present.unsqueeze(-1) & present.unsqueeze(-2)
    other = ~torch.eye(values.shape[2], dtype=torch.bool, device=values.device)
    ordered = in_order(away.masked_fill(~(both & other), torch.inf).movedim(-1, 0).contiguous())
    total = ordered.cumsum(0).gather(0, (nearest.clamp_min(1) - 1).expand_as(present).unsqueeze(0))
    return total.squeeze(0).masked_fill(~present, torch.inf)
