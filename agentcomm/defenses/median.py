"""median: replace the messages of an inbox by their coordinate-wise median.

However far a minority of the messages is from the others, the median lies between values of honest ones (Yin et al.,
"Byzantine-robust distributed learning", ICML 2018). The price is paid on clean traffic, too: a receiver no longer hears
who said what, only what most say. Inboxes with fewer than ``least`` messages have no majority, and are left alone.
The score of a message is its distance from the median, in units of sqrt(payload width).
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import DefenseConfig
from agentcomm.defenses.robust import CenterRule, coordinate_median


class MedianConfig(DefenseConfig):
    """Arguments of ``median``."""

    least: int = Field(3, ge=1, description="fewest messages in an inbox whose median is taken")


class Median(CenterRule[MedianConfig]):
    """Aggregates each inbox; of an even number of values, the mean of the two in the middle counts."""

    answers = ("aa.l3.cross_validation",)
    adaptive = ("little", "collude", "gradient:adaptive=true")

    @property
    def least(self) -> int:
        """As configured."""
        return self.config.least

    @property
    def advice(self) -> str:
        """Another argument."""
        return "use a denser topology, or a smaller least"

    def center(self, payload: Tensor, present: Tensor) -> Tensor:
        """The median of each inbox."""
        return coordinate_median(payload, present)
