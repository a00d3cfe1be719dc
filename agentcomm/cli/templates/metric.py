"""my_metric: steps of the longest episode."""

from __future__ import annotations

from agentcomm.contracts.metric import Metric
from agentcomm.contracts.outcome import Episodes


class MyMetric(Metric):
    """Computed from the episodes of a cell."""

    unit, better = "steps", "lower"
    source = "the largest length of an episode"  # a paper with its section, or a definition

    def value(self, episodes: Episodes) -> float | None:
        """The number of a cell; None where it does not apply."""
        return float(episodes.length.max())
