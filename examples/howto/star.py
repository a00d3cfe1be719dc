"""star: all agents listen to the first one."""

import torch

from agentcomm.base.registry import register
from agentcomm.contracts.topology import Graph, Topology


@register("topology", "star")
class Star(Topology):
    def __init__(self, config, num_agents):
        super().__init__(config)
        self.resize(torch.arange(num_agents))

    @classmethod
    def for_team(cls, config, num_agents, width):
        return cls(config, num_agents)

    def graph(self, draw, num_worlds, hidden=None):
        source = torch.zeros(num_worlds, self.agents, self.degree, dtype=torch.int64)
        source[:, 0] = 1  # no agent may listen to itself: the first one gets the second as a sender, and ignores it
        return Graph(source, torch.arange(self.agents).view(1, -1, 1).expand(source.shape) > 0)

    def resize(self, identity):
        self.agents = len(identity)
        self.degree = min(self.agents - 1, 1)
