"""CommFormer's learned graph (arXiv 2405.08550): logits per possible edge, and exactly k senders per receiver.

Training samples by Gumbel top-k, with straight-through weights through which the graph's own optimizer learns on
held-out worlds; execution takes the exact top-k. Unlike in the released code, the diagonal does not compete,
logits start from small random numbers instead of ties, and an edge learning rate of its own makes them move.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from agentcomm.errors import ConfigError
from agentcomm.policy import Graph
from policies.graph_part import Part, degree
from policies.noise import gumbel, new_draws

EXACT = -1  # the draw that means: the executed graph


class LearnedConfig(Part):
    """One logit per possible edge."""

    kind: Literal["learned"] = "learned"
    density: float = Field(0.4, gt=0, le=1, description="senders kept per receiver, as a share of N")
    learning_rate: float = Field(0.05, gt=0, description="of the graph's own optimizer (Adam)")
    temperature: float = Field(1.0, gt=0, description="of the Gumbel softmax at the start")
    final_temperature: float = Field(0.5, gt=0, description="and at the end of training")
    exact_after: float = Field(0.8, gt=0, le=1, description="share of training after which the exact graph is used")
    graphs: int = Field(64, ge=1, description="different graphs sampled per rollout; worlds share them in turn")
    initial_logit: float | None = Field(None, description="of every edge; none for small random numbers")


class EmbeddedConfig(LearnedConfig):
    """Logits <q_i, k_j> of agent embeddings, which carry over to another number of agents."""

    kind: Literal["embedded"] = "embedded"  # type: ignore[assignment]
    embedding: int = Field(16, ge=1, le=256, description="width of the agent embeddings")


class LearnedGraph(nn.Module):
    """Edge logits alpha [N, N] (row: receiver), sampled by Gumbel top-k.

    Attributes:
        exact: 1 once the final phase has begun: sampling then returns the executed graph.
    """

    learned, dynamic = True, False
    temperature: Tensor
    exact: Tensor
    _excluded: Tensor

    def __init__(self, config: LearnedConfig, num_agents: int) -> None:
        super().__init__()
        self.config = config
        self.degree = degree(config.density, num_agents)
        self._make_logits(num_agents)
        self.register_buffer("temperature", torch.tensor(config.temperature))
        self.register_buffer("exact", torch.tensor(0.0))
        self.register_buffer("_excluded", torch.eye(num_agents, dtype=torch.bool), persistent=False)

    def _make_logits(self, num_agents: int) -> None:
        start = self.config.initial_logit
        first = 0.01 * torch.randn(num_agents, num_agents)
        self.edges = nn.Parameter(first if start is None else torch.full_like(first, start))

    def logits(self) -> Tensor:
        """Alpha [N, N]."""
        return self.edges

    def anneal(self, progress: float) -> None:
        """Set temperature and phase for the given share of training (0 .. 1)."""
        c = self.config
        self.temperature.fill_(c.temperature * (c.final_temperature / c.temperature) ** min(progress, 1.0))
        self.exact.fill_(float(progress >= c.exact_after))

    def draw(self, num_worlds: int, generator: torch.Generator) -> Tensor:
        """One number per world, ``graphs`` different ones; all ``EXACT`` in the final phase."""
        draws = new_draws(min(self.config.graphs, num_worlds), generator)
        draws = draws[torch.arange(num_worlds, device=draws.device) % len(draws)]
        return torch.where(self.exact.bool(), EXACT, draws)

    def _scores(self, draw: Tensor | None = None) -> Tensor:
        """Logits [N, N], or with the noise of draws [U, N, N]; excluded edges at minus infinity."""
        scores = self.logits()
        if draw is not None:
            noise = gumbel(draw, *scores.shape)
            scores = scores + noise.masked_fill((draw == EXACT).view(-1, 1, 1), 0.0)
        return scores.masked_fill(self._excluded, float("-inf"))

    @torch.no_grad()
    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        """Top-k senders per receiver, in ascending order."""
        if draw is None:
            return Graph(self._top(self._scores()).expand(num_worlds, -1, -1))
        different, which = draw.unique(return_inverse=True)
        return Graph(self._top(self._scores(different))[which])

    def _top(self, scores: Tensor) -> Tensor:
        top: Tensor = scores.topk(self.degree, dim=-1).indices.sort(-1).values
        return top

    def weight(self, source: Tensor, draw: Tensor, hidden: Tensor | None = None) -> Tensor | None:
        """Value 1 with the gradient of softmax((alpha + g) / tau) at the chosen edges."""
        different, which = draw.unique(return_inverse=True)
        soft = (self._scores(different) / self.temperature).softmax(-1)
        place = (which.view(-1, 1, 1), torch.arange(source.shape[1], device=source.device).view(1, -1, 1), source)
        chosen: Tensor = soft[place]
        return chosen - chosen.detach() + 1  # in this order exactly 1

    def resize(self, identity: Tensor) -> None:
        """Only possible to the size that it has."""
        if not torch.equal(identity, torch.arange(len(self.edges), device=identity.device)):
            raise ConfigError(
                f"a learned graph has one logit per edge and is tied to its {len(self.edges)} agents;"
                f" train with topology kind 'embedded' (or a fixed one) to serve another number"
            )

    @torch.no_grad()
    def row_entropy(self) -> Tensor:
        """[N] entropy in nats of each receiver's distribution over senders."""
        return torch.special.entr(self._scores().softmax(-1)).sum(-1)

    @torch.no_grad()
    def agreement(self, source: Tensor) -> Tensor:
        """Share of sampled rows of [B, N, k] that equal the executed ones."""
        share: Tensor = (source == self._top(self._scores())).all(-1).float().mean()
        return share


class EmbeddedGraph(LearnedGraph):
    """Logits <q_i, k_j> from embeddings of the agents of the trained team."""

    _identity: Tensor
    config: EmbeddedConfig

    def _make_logits(self, num_agents: int) -> None:
        width = self.config.embedding
        self.agents = nn.Parameter(torch.randn(num_agents, width))
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        for layer in (self.query, self.key):
            nn.init.orthogonal_(layer.weight, 0.3)
        self.register_buffer("_identity", torch.arange(num_agents), persistent=False)

    def logits(self) -> Tensor:
        """Alpha [N, N], scaled so that its size does not depend on the embedding's width."""
        agents = self.agents[self._identity]
        product: Tensor = self.query(agents) @ self.key(agents).T
        return product / agents.shape[-1] ** 0.5

    def resize(self, identity: Tensor) -> None:
        """Agents that stand in for the same one do not listen to each other: no such edge was ever trained."""
        same = identity.unsqueeze(0) == identity.unsqueeze(1)
        count = len(identity)
        self._identity = identity.to(self._identity.device)
        self.degree = min(degree(self.config.density, count), int((~same).sum(-1).min()))
        self._excluded = same.to(self._excluded.device)
