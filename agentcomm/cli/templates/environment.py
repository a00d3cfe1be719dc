"""my_environment: each agent sees one symbol, and must name the symbol that the next agent sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from agentcomm.contracts.world import Observation, Transition, World, WorldConfig


class MyEnvironmentConfig(WorldConfig):
    """Arguments of ``my_environment``."""

    members: int = Field(4, ge=2, le=64, description="number of agents")
    symbols: int = Field(4, ge=2, le=64, description="number of symbols")


class MyEnvironment(World[MyEnvironmentConfig]):
    """B copies; the state has ``symbol`` [B, N] int64, seen now, and ``flawless`` [B] bool, nothing wrong so far."""

    exogenous = True  # symbols are drawn, whatever agents do

    def __init__(self, config: MyEnvironmentConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        self.agents = tuple(f"agent_{number}" for number in range(config.members))
        self.action_names = tuple(f"name_{symbol}" for symbol in range(config.symbols))
        self.layout = Observation("dense", config.symbols, low=0, high=1)
        self.state = {
            "symbol": torch.zeros(num_worlds, config.members, dtype=torch.int64, device=self.device),
            "flawless": torch.ones(num_worlds, dtype=torch.bool, device=self.device),
        }

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Start new episodes in some worlds [W]."""
        if scene is not None:
            raise ValueError("my_environment has no scenes")
        self.state["symbol"][worlds] = self._draw(len(worlds), generator)
        self.state["flawless"][worlds] = True

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Pay each agent 1 for the right name, and show new symbols."""
        right = actions == self.state["symbol"].roll(-1, 1)
        self.state["flawless"] = self.state["flawless"] & right.all(1)
        self.state["symbol"] = self._draw(self.num_worlds, generator)
        ended = torch.zeros_like(self.state["flawless"])  # only max_steps ends an episode
        return Transition(right.float(), ended, torch.ones_like(right))

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[W, N, symbols], one-hot."""
        symbol = self.state["symbol"] if worlds is None else self.state["symbol"][worlds]
        return one_hot(symbol, self.config.symbols).float()

    def success(self) -> Tensor:
        """[B] bool, whether all names were right so far."""
        return self.state["flawless"].clone()

    def _draw(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(self.config.symbols, (count, self.config.members), generator=generator, device=self.device)
