"""A new graph in every step, computed from agents' observations (MAGIC: Niu, Paleja and Gombolay, AAMAS 2021).

As in MAGIC the scheduler is centralized: it uses the hidden vectors of all agents. One graph attention layer mixes
them, and an MLP over each pair decides whether the receiver listens to the sender, sampled by a Gumbel softmax over two
classes, which amounts to a threshold with logistic noise. MAGIC computes one such graph per round; here all rounds of a
step use the same graph.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from agentcomm.contracts.topology import Graph, Topology, TopologyConfig
from policies.graphs.fixed import NoLinks
from policies.graphs.noise import logistic, new_draws
from policies.graphs.part import others


class DynamicConfig(TopologyConfig):
    """Arguments of DynamicGraph."""

    hidden: int = Field(32, ge=1, description="width of the scheduler")
    temperature: float = Field(1.0, gt=0, description="temperature of the Gumbel softmax")
    initial_logit: float = Field(
        1.0, description="initial logit of edges, which are kept with probability sigmoid(this)"
    )


class DynamicGraph(Topology[DynamicConfig]):
    """MAGIC's scheduler, trained with the model by a straight-through estimator."""

    dynamic = True
    _others: Tensor

    def __init__(self, config: DynamicConfig, num_agents: int, width: int) -> None:
        super().__init__(config)
        self.degree = num_agents - 1
        size = config.hidden
        self.notice = nn.Linear(width, size)
        self.attend_from, self.attend_to = nn.Linear(size, 1, bias=False), nn.Linear(size, 1, bias=False)
        # The first layer of the MLP over the pair [h_i, h_j], split into its two halves.
        self.receiver, self.sender = nn.Linear(size, size), nn.Linear(size, size, bias=False)
        self.keep = nn.Linear(size, 1)
        nn.init.orthogonal_(self.keep.weight, 0.01)
        nn.init.constant_(self.keep.bias, config.initial_logit)
        self.register_buffer("_others", others(num_agents), persistent=False)

    @classmethod
    def for_team(cls, config: TopologyConfig, num_agents: int, width: int) -> Topology:
        """The scheduler of a team of N agents, or no links for a single agent."""
        if num_agents == 1:
            return NoLinks(TopologyConfig(), num_agents)
        return cls(config, num_agents, width)  # type: ignore[arg-type]

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden vectors [B, N, H] -> logits [B, N, N] of edges (row: receiver)."""
        seen = self.notice(hidden)
        scores = nn.functional.leaky_relu(self.attend_from(seen) + self.attend_to(seen).transpose(1, 2), 0.2)
        noticed = nn.functional.elu(scores.softmax(-1) @ seen)
        pair = self.receiver(noticed).unsqueeze(2) + self.sender(noticed).unsqueeze(1)
        out: Tensor = self.keep(nn.functional.relu(pair)).squeeze(-1)
        return out

    def draw(self, num_worlds: int, generator: torch.Generator) -> Tensor:
        """One draw per world."""
        return new_draws(num_worlds, generator)

    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        """All other agents as senders, and which of these edges are kept."""
        if hidden is None:
            raise ValueError("a dynamic graph needs hidden vectors")
        logits = self.logits(hidden)
        if draw is not None:
            logits = logits + logistic(draw, *logits.shape[1:])
        source = self._others.expand(len(hidden), -1, -1)
        return Graph(source, logits.gather(2, source) > 0)

    def weight(self, source: Tensor, draw: Tensor, hidden: Tensor | None = None) -> Tensor | None:
        """sigmoid((logit + noise) / tau)."""
        if hidden is None:
            raise ValueError("a dynamic graph needs hidden vectors")
        logits = self.logits(hidden)
        soft: Tensor = ((logits + logistic(draw, *logits.shape[1:])) / self.config.temperature).sigmoid()
        return soft.gather(2, source)

    def resize(self, identity: Tensor) -> None:
        """Adapt to any number of agents."""
        self._others = others(len(identity)).to(self._others.device)
        self.degree = len(identity) - 1
