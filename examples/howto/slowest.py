"""slowest: steps of the longest episode."""

from agentcomm.base.registry import register
from agentcomm.contracts.metric import Metric


@register("metric", "slowest")
class Slowest(Metric):
    unit, better = "steps", "lower"

    def value(self, episodes):
        return float(episodes.length.max())
