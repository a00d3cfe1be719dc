"""median: replace the messages of an inbox by their coordinate-wise median.

However far a minority of the messages is from the others, the median lies between values of honest ones (Yin et al.,
"Byzantine-robust distributed learning", ICML 2018). The price is paid on clean traffic, too: a receiver no longer hears
who said what, only what most say. Inboxes with fewer than ``least`` messages have no majority, and are left alone.
The score of a message is its distance from the median, in units of sqrt(payload width).
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.verdicts import Delivered, InboxView, Verdicts


class MedianConfig(DefenseConfig):
    """Arguments of ``median``."""

    least: int = Field(3, ge=1, description="fewest messages in an inbox whose median is taken")


class Median(Defense[MedianConfig]):
    """Aggregates each inbox; of an even number of values, the mean of the two in the middle counts."""

    order = "trust"
    refuses = False
    lossless = False
    changes_payloads = True

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs inboxes of at least ``least`` messages; those of a team without messages are always empty."""
        degree, least = deployment.shape.degree, self.config.least
        if deployment.silent or degree >= least:
            return super().unmet(deployment)
        few = f"it needs inboxes of least={least} messages, but agents of this team hear at most {degree}"
        return super().unmet(deployment) or f"{few}: use a denser topology, or a smaller least"

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Score every message of an inbox that is large enough; refuse none."""
        median, enough = self._median(delivered.payload, delivered.present)
        if median is None:
            return Verdicts()
        away = (delivered.payload - median).norm(dim=-1) / self.team_shape.width**0.5
        away = torch.nan_to_num(away, torch.finfo(away.dtype).max)
        return Verdicts(score=away.masked_fill(~(delivered.present & enough), 0.0))

    def aggregate(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        """The median in each slot of an inbox that is large enough."""
        median, enough = self._median(inbox.payload, inbox.present)
        if median is None:
            return None
        return torch.where((inbox.present & enough).unsqueeze(-1), median, inbox.payload)

    def _median(self, payload: Tensor, present: Tensor) -> tuple[Tensor | None, Tensor]:
        """[B, N, 1, D], the median of each inbox, and [B, N, 1], whether it is large enough; None if none can be.

        Args:
            payload: [B, N, M, D].
            present: [B, N, M] bool.
        """
        count = present.sum(-1, keepdim=True)
        if payload.shape[2] < self.config.least:
            return None, count >= self.config.least
        ordered = payload.nan_to_num(torch.inf).masked_fill(~present.unsqueeze(-1), torch.inf).sort(dim=2).values
        lower, upper = ((count - 1).clamp_min(0) // 2, count // 2)
        middle = [ordered.gather(2, at.unsqueeze(-1).expand(-1, -1, 1, ordered.shape[-1])) for at in (lower, upper)]
        median = middle[0] + (middle[1] - middle[0]) / 2
        # A majority of infinite values leaves no median; what they are replaced by must still be finite.
        return median.nan_to_num(0.0, 0.0, 0.0), count >= self.config.least
