"""Graphs that are given: nobody, everybody, a ring, an exponential graph, a random one."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from agentcomm.policy import Graph
from policies.graph_part import Part, degree, others


class NoLinksConfig(Part):
    """Nobody listens: the no-message control."""

    kind: Literal["none"] = "none"


class FullConfig(Part):
    """Everybody listens to everybody."""

    kind: Literal["full"] = "full"


class RingConfig(Part):
    """Everybody listens to both neighbors on a ring."""

    kind: Literal["ring"] = "ring"


class ExponentialConfig(Part):
    """Agent i listens to the log2(N) agents i + 1, i + 2, i + 4, ... (Ying et al., NeurIPS 2021, arXiv 2110.13363)."""

    kind: Literal["exponential"] = "exponential"


class RandomConfig(Part):
    """A fixed random graph."""

    kind: Literal["random"] = "random"
    density: float = Field(0.4, gt=0, le=1, description="senders kept per receiver, as a share of N")
    seed: int | None = Field(None, ge=0, description="which graph; none gives every team another one")


FixedConfig = NoLinksConfig | FullConfig | RingConfig | ExponentialConfig | RandomConfig


class FixedGraph(nn.Module):
    """A graph given by an [N, k] table."""

    learned = dynamic = needs_held_out = False
    table: Tensor

    def __init__(self, config: FixedConfig, num_agents: int) -> None:
        super().__init__()
        if isinstance(config, RandomConfig) and config.seed is None:
            # From the generator that a team's weights are drawn from, so that it is this team's graph for good.
            config = config.model_copy(update={"seed": int(torch.randint(2**31, ()))})
        self.config = config
        self.register_buffer("table", _table(config, num_agents))
        self.degree = self.table.shape[1]

    def draw(self, num_worlds: int, generator: torch.Generator) -> Tensor:
        """Nothing to sample."""
        return torch.zeros(0, dtype=torch.int64, device=self.table.device)

    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        """The table, for every world."""
        return Graph(self.table.expand(num_worlds, -1, -1))

    def weight(self, source: Tensor, draw: Tensor, hidden: Tensor | None = None) -> Tensor | None:
        """No gradient to a fixed graph."""
        return None

    def resize(self, identity: Tensor) -> None:
        """The graph of the same kind for another N."""
        self.table = _table(self.config, len(identity)).to(self.table.device)
        self.degree = self.table.shape[1]


def _table(config: FixedConfig, num_agents: int) -> Tensor:
    """[N, k] int64 senders in ascending order."""
    everybody = others(num_agents)
    if isinstance(config, NoLinksConfig):
        return everybody[:, :0]
    if isinstance(config, RandomConfig):
        assert config.seed is not None
        generator = torch.Generator().manual_seed(config.seed)
        keys = torch.rand(everybody.shape, generator=generator)
        kept = keys.topk(degree(config.density, num_agents) if num_agents > 1 else 0, dim=-1).indices.sort(-1).values
        return everybody.gather(1, kept)
    hops = set(range(1, num_agents))
    if isinstance(config, RingConfig):
        hops &= {1, num_agents - 1}
    elif isinstance(config, ExponentialConfig):
        hops &= {2**power for power in range(num_agents.bit_length())}
    agents = torch.arange(num_agents).unsqueeze(1)
    return (agents + torch.tensor(sorted(hops), dtype=torch.int64)).remainder(num_agents).sort(-1).values
