"""geometric_median: replace the messages of an inbox by the point with the smallest sum of distances to them.

Weiszfeld's algorithm with smoothed weights 1 / sqrt(|x - z|^2 + s^2) and a fixed number of iterations (Pillutla et al.,
"Robust aggregation for federated learning", IEEE TSP 2022), from the coordinate-wise median. Less than half of the
messages, however far away, move it by a bounded distance. Unlike a coordinate-wise median it respects directions: it
lies within the convex hull of the messages. Inboxes with fewer than three messages are left alone. It does not stop
attackers that move together by about the spread of honest messages.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import DefenseConfig
from agentcomm.defenses.robust import CenterRule, bounded, coordinate_median


class GeometricMedianConfig(DefenseConfig):
    """Arguments of ``geometric_median``."""

    iterations: int = Field(8, ge=1, le=100, description="steps of Weiszfeld's algorithm")
    smoothing: float = Field(1e-2, gt=0, description="s, in units of sqrt(payload width): distances below do not count")


class GeometricMedian(CenterRule[GeometricMedianConfig]):
    """Smoothed Weiszfeld."""

    answers = ("aa.l3.cross_validation",)
    adaptive = ("little", "collude", "gradient:adaptive=true")
    differentiable = True

    @property
    def least(self) -> int:
        """Fewer have no majority."""
        return 3

    @property
    def advice(self) -> str:
        """The only way."""
        return "use a denser topology"

    def center(self, payload: Tensor, present: Tensor) -> Tensor:
        """The geometric median of each inbox."""
        values = bounded(payload).masked_fill(~present.unsqueeze(-1), 0.0)
        smooth = self.config.smoothing**2 * values.shape[-1]
        middle = bounded(coordinate_median(payload, present))
        for _ in range(self.config.iterations):
            away = ((values - middle.unsqueeze(2)).square().sum(-1) + smooth).sqrt()
            weight = away.reciprocal() * present
            share = weight / weight.sum(-1, keepdim=True).clamp_min(1e-30)
            middle = (share.unsqueeze(-1) * values).sum(2)
        return middle
