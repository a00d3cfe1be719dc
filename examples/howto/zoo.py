"""zoo: any PettingZoo parallel environment."""

from agentcomm.base.registry import register
from agentcomm.pettingzoo.adapter import ParallelWorld


@register("environment", "zoo")
class Zoo(ParallelWorld):
    pass
