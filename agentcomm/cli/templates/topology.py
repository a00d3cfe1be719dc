"""my_topology: all agents listen to the first one."""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.contracts.topology import Graph, Topology, TopologyConfig


class MyTopology(Topology):
    """A star. It takes no arguments: those of a topology are fields of a config that derives from TopologyConfig."""

    def __init__(self, config: TopologyConfig, num_agents: int) -> None:
        super().__init__(config)
        self.resize(torch.arange(num_agents))

    @classmethod
    def for_team(cls, config: TopologyConfig, num_agents: int, width: int) -> Topology:
        """The star of a team."""
        return cls(config, num_agents)

    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        """Each receiver's senders, [B, N, 1]; the first agent has none."""
        device = "cpu" if hidden is None else hidden.device
        source = torch.zeros(num_worlds, self.agents, self.degree, dtype=torch.int64, device=device)
        source[:, 0] = 1  # an agent is never its own sender, so the first one gets another, and ``kept`` leaves it out
        kept = torch.ones_like(source, dtype=torch.bool)
        kept[:, 0] = False
        return Graph(source, kept)

    def resize(self, identity: Tensor) -> None:
        """Adapt to another number of agents."""
        self.agents = len(identity)
        self.degree = min(self.agents - 1, 1)
