"""median: replace the messages of an inbox by their coordinate-wise median.

However far a minority of the messages is from the others, the median lies between values of honest ones (Yin et al.,
"Byzantine-robust distributed learning", ICML 2018). The price is paid on clean traffic, too: a receiver no longer hears
who said what, only what most say. Inboxes with fewer than ``least`` messages have no majority, and are left alone.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.verdicts import InboxView


class MedianConfig(DefenseConfig):
    """Arguments of ``median``."""

    least: int = Field(3, ge=1, description="fewest messages in an inbox whose median is taken")


class Median(Defense[MedianConfig]):
    """Aggregates each inbox; of an even number of values, the mean of the two in the middle counts."""

    order = "trust"
    lossless = False

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs inboxes of at least ``least`` messages; those of a team without messages are always empty."""
        degree, least = deployment.shape.degree, self.config.least
        if deployment.silent or degree >= least:
            return super().unmet(deployment)
        few = f"it needs inboxes of least={least} messages, but agents of this team hear at most {degree}"
        return super().unmet(deployment) or f"{few}: use a denser topology, or a smaller least"

    def aggregate(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        """The median in each slot of an inbox that is large enough."""
        if inbox.payload.shape[2] < self.config.least:
            return None
        present, count = inbox.present.unsqueeze(-1), inbox.present.sum(-1).view(*inbox.present.shape[:2], 1, 1)
        ordered = inbox.payload.nan_to_num(torch.inf).masked_fill(~present, torch.inf).sort(dim=2).values
        lower, upper = ((count - 1).clamp_min(0) // 2, count // 2)
        middle = [ordered.gather(2, at.expand(-1, -1, 1, ordered.shape[-1])) for at in (lower, upper)]
        median = middle[0] + (middle[1] - middle[0]) / 2
        # A majority of infinite values leaves no median; what they are replaced by must still be finite.
        median = median.nan_to_num(0.0, 0.0, 0.0)
        return torch.where(present & (count >= self.config.least), median, inbox.payload)
