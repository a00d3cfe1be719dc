"""Fixed graphs: no links, all links, a ring, exponential graphs, and random graphs."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.contracts.topology import Graph, Topology, TopologyConfig
from policies.graphs.part import degree, others

TOGETHER = 2**20  # possible edges that a random graph is drawn from together

F_co = TypeVar("F_co", bound=TopologyConfig, default=TopologyConfig, covariant=True)


class FixedGraph(Topology[F_co]):
    """A graph given by an [N, k] table of senders in ascending order."""

    table: Tensor

    def __init__(self, config: F_co, num_agents: int) -> None:
        super().__init__(config)
        self.register_buffer("table", self.senders(num_agents))
        self.degree = self.table.shape[1]

    @classmethod
    def for_team(cls, config: TopologyConfig, num_agents: int, width: int) -> Self:
        """The graph of a team of N agents."""
        return cls(config, num_agents)  # type: ignore[arg-type]

    @abstractmethod
    def senders(self, num_agents: int) -> Tensor:
        """[N, k] int64 senders in ascending order, for any number of agents."""

    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        """The table, for every world."""
        return Graph(self.table.expand(num_worlds, -1, -1))

    def resize(self, identity: Tensor) -> None:
        """Build the same kind of graph for another N."""
        self.table = self.senders(len(identity)).to(self.table.device)
        self.degree = self.table.shape[1]


class NoLinks(FixedGraph):
    """No links: the control without messages."""

    def senders(self, num_agents: int) -> Tensor:
        """[N, 0]."""
        return torch.zeros(num_agents, 0, dtype=torch.int64)


class Full(FixedGraph):
    """The complete graph: every agent listens to all others."""

    def senders(self, num_agents: int) -> Tensor:
        """[N, N - 1]."""
        return others(num_agents)


class Ring(FixedGraph):
    """A ring: every agent listens to both neighbors."""

    def senders(self, num_agents: int) -> Tensor:
        """[N, 2] in teams of three or more."""
        return _at_hops({1, num_agents - 1}, num_agents)


class Exponential(FixedGraph):
    """Agent i listens to the log2(N) agents i + 1, i + 2, i + 4, ... (Ying et al., NeurIPS 2021, arXiv 2110.13363)."""

    def senders(self, num_agents: int) -> Tensor:
        """[N, log2(N) rounded up]."""
        return _at_hops({2**power for power in range(num_agents.bit_length())}, num_agents)


class OnePeer(FixedGraph):
    """In step t agent i listens to i - 2^(t mod log2 N) (one-peer exponential: Ying et al., 2021, arXiv 2110.13363)."""

    scheduled = True

    def senders(self, num_agents: int) -> Tensor:
        """[N, 1], those of the first step."""
        return _at_hops({num_agents - 1}, num_agents)

    def at(self, graph: Graph, step: Tensor) -> Graph:
        """Each agent's sender in the steps [B] of the worlds."""
        num_agents = graph.source.shape[1]
        if num_agents == 1:
            return graph
        hop = 2 ** (step % (num_agents - 1).bit_length())
        agents = torch.arange(num_agents, device=step.device)
        return Graph((agents - hop.unsqueeze(1)).remainder(num_agents).unsqueeze(2))


class RandomConfig(TopologyConfig):
    """Arguments of Random."""

    density: float = Field(0.4, gt=0, le=1, description="senders kept per receiver, as a share of N")
    degree: int | None = Field(None, ge=1, description="senders kept per receiver, whatever the density")
    seed: int | None = Field(None, ge=0, description="seed of the graph; another graph for every team when not given")


class Random(FixedGraph[RandomConfig]):
    """A fixed random graph."""

    def __init__(self, config: RandomConfig, num_agents: int) -> None:
        # From the generator that the team's initial weights are drawn from, so that the graph is the team's own.
        self.seed = int(torch.randint(2**31, ())) if config.seed is None else config.seed
        super().__init__(config, num_agents)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Another graph for each team, and a given one."""
        return {"": {}, "given": {"density": 0.5, "seed": 3}}

    def senders(self, num_agents: int) -> Tensor:
        """[N, k], with k from the density."""
        generator = torch.Generator().manual_seed(self.seed)
        count = degree(self.config.density, num_agents, self.config.degree) if num_agents > 1 else 0
        kept = []
        for receivers in torch.arange(num_agents).split(max(TOGETHER // num_agents, 1)):
            keys = torch.rand(len(receivers), num_agents - 1, generator=generator)
            rank = keys.topk(count, dim=-1).indices.sort(-1).values
            kept.append(rank + (rank >= receivers.unsqueeze(1)))  # all but the receiver itself
        return torch.cat(kept)


def _at_hops(hops: set[int], num_agents: int) -> Tensor:
    """[N, k] int64, the agents at the given distances in the team's cyclic order, in ascending order."""
    agents = torch.arange(num_agents).unsqueeze(1)
    steps = torch.tensor(sorted(hops & set(range(1, num_agents))), dtype=torch.int64)
    return (agents + steps).remainder(num_agents).sort(-1).values
