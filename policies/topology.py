"""Topologies: who may listen to whom. ``neighbors`` are [B, N, k] senders per receiver, self excluded.

``learned`` is CommFormer's graph (arXiv 2405.08550): logits per possible edge, Gumbel top-k sampling in
training with straight-through weights, exact top-k in execution. Unlike the released code, the diagonal
does not compete, logits start from small random numbers instead of ties, and an edge learning rate of
its own makes them move.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NoLinksConfig(_Part):
    """Nobody listens: the no-message control."""

    kind: Literal["none"] = "none"


class FullConfig(_Part):
    """Everybody listens to everybody."""

    kind: Literal["full"] = "full"


class RandomConfig(_Part):
    """A fixed random graph."""

    kind: Literal["random"] = "random"
    density: float = Field(0.4, gt=0, le=1, description="senders kept per receiver, as a share of N")
    seed: int = Field(0, ge=0, description="which graph")


class LearnedConfig(_Part):
    """CommFormer's learned graph."""

    kind: Literal["learned"] = "learned"
    density: float = Field(0.4, gt=0, le=1, description="senders kept per receiver, as a share of N")
    learning_rate: float = Field(0.05, gt=0, description="of the graph's own optimizer (Adam)")
    temperature: float = Field(1.0, gt=0, description="of the Gumbel softmax at the start")
    final_temperature: float = Field(0.5, gt=0, description="and at the end of training")
    exact_after: float = Field(0.8, gt=0, le=1, description="share of training after which the exact graph is used")


TopologyConfig = Annotated[NoLinksConfig | FullConfig | RandomConfig | LearnedConfig, Field(discriminator="kind")]


def degree(density: float, num_agents: int) -> int:
    """Neighbors per receiver: k = max(int(N * density), 1), at most the N - 1 others."""
    return min(max(int(num_agents * density), 1), num_agents - 1)


class FixedTopology(nn.Module):
    """A graph given by an [N, k] table."""

    learned = False
    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)
        self.degree = table.shape[1]

    def noise(self, num_worlds: int, generator: torch.Generator) -> Tensor:
        """Nothing to sample."""
        return torch.zeros(num_worlds, 0, 0, device=self.table.device)

    def neighbors(self, noise: Tensor | None, num_worlds: int) -> Tensor:
        """The table, for every world."""
        return self.table.expand(num_worlds, -1, -1)

    def weight(self, source: Tensor, noise: Tensor) -> Tensor | None:
        """No gradient to a fixed graph."""
        return None


class LearnedTopology(nn.Module):
    """Edge logits alpha [N, N] (row: receiver), sampled by Gumbel top-k.

    Attributes:
        exact: 1 once the final phase has begun: sampling then returns the executed graph.
    """

    learned = True
    temperature: Tensor
    exact: Tensor
    _diagonal: Tensor

    def __init__(self, config: LearnedConfig, num_agents: int) -> None:
        super().__init__()
        self.config = config
        self.degree = degree(config.density, num_agents)
        self.logits = nn.Parameter(0.01 * torch.randn(num_agents, num_agents))
        self.register_buffer("temperature", torch.tensor(config.temperature))
        self.register_buffer("exact", torch.tensor(0.0))
        self.register_buffer("_diagonal", torch.eye(num_agents, dtype=torch.bool), persistent=False)

    def anneal(self, progress: float) -> None:
        """Set temperature and phase for the given share of training (0 .. 1)."""
        c = self.config
        self.temperature.fill_(c.temperature * (c.final_temperature / c.temperature) ** min(progress, 1.0))
        self.exact.fill_(float(progress >= c.exact_after))

    def noise(self, num_worlds: int, generator: torch.Generator) -> Tensor:
        """Gumbel(0, 1) noise [B, N, N]; zeros in the final phase."""
        shape = (num_worlds, *self.logits.shape)
        uniform = torch.rand(shape, generator=generator, device=self.logits.device).clamp(1e-9, 1 - 1e-7)
        return -(-uniform.log()).log() * (1 - self.exact)

    def _scores(self, noise: Tensor | None) -> Tensor:
        scores = self.logits if noise is None else self.logits + noise
        return scores.masked_fill(self._diagonal, float("-inf"))

    @torch.no_grad()
    def neighbors(self, noise: Tensor | None, num_worlds: int) -> Tensor:
        """Top-k senders per receiver, in ascending order."""
        chosen = self._scores(noise).topk(self.degree, dim=-1).indices.sort(-1).values
        return chosen.expand(num_worlds, -1, -1)

    def weight(self, source: Tensor, noise: Tensor) -> Tensor | None:
        """Value 1 with the gradient of softmax((alpha + g) / tau) at the chosen edges."""
        soft = (self._scores(noise) / self.temperature).softmax(-1).gather(-1, source)
        return soft - soft.detach() + 1  # in this order exactly 1

    @torch.no_grad()
    def statistics(self) -> dict[str, float]:
        """Mean entropy of the rows in nats, and the mean probability of the executed edges."""
        p = self._scores(None).softmax(-1)
        entropy = torch.special.entr(p).sum(-1).mean()
        return {"graph_entropy": float(entropy), "graph_confidence": float(p.topk(self.degree).values.sum(-1).mean())}


def build_topology(config: TopologyConfig, num_agents: int) -> FixedTopology | LearnedTopology:
    """The topology of that kind for N agents."""
    if isinstance(config, LearnedConfig) and num_agents > 1:
        return LearnedTopology(config, num_agents)
    agents = torch.arange(num_agents)
    others = torch.stack([agents[agents != i] for i in range(num_agents)])
    if isinstance(config, NoLinksConfig):
        return FixedTopology(others[:, :0])
    if isinstance(config, RandomConfig):
        generator = torch.Generator().manual_seed(config.seed)
        keys = torch.rand(others.shape, generator=generator)
        kept = keys.topk(degree(config.density, num_agents), dim=-1).indices.sort(-1).values
        return FixedTopology(others.gather(1, kept))
    return FixedTopology(others)
