"""harbor: keepers see which berth is free, and all ships must steer to it.

In every step one of ``berths`` is drawn. The two keepers observe it, the ships do not. An agent that steers to it gets
1, others get 0. Known answers, as mean reward of an agent and step: 1 if ships hear a keeper; without messages,
1 / berths for ships, and 1 for keepers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from agentcomm.contracts.world import Observation, Transition, World, WorldConfig


class HarborConfig(WorldConfig):
    """Arguments of ``harbor``."""

    ships: int = Field(3, ge=1, le=32, description="agents that do not see the free berth")
    berths: int = Field(4, ge=2, le=32, description="berths to choose from")


class Harbor(World[HarborConfig]):
    """B copies. State: ``free`` [B] int64, the free berth; ``flawless`` [B] bool, nobody was wrong so far."""

    exogenous = True  # berths are drawn, wherever agents steer

    def __init__(self, config: HarborConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        self.agents = ("keeper_0", "keeper_1", *(f"ship_{number}" for number in range(config.ships)))
        self.action_names = tuple(f"berth_{number}" for number in range(config.berths))
        self.layout = Observation("dense", config.berths, low=0, high=1)
        self.sees = torch.tensor([[1.0]] * 2 + [[0.0]] * config.ships, device=self.device)
        self.state = {
            "free": torch.zeros(num_worlds, dtype=torch.int64, device=self.device),
            "flawless": torch.ones(num_worlds, dtype=torch.bool, device=self.device),
        }

    @property
    def roles(self) -> tuple[int, ...]:
        """Keepers and ships cannot stand in for each other."""
        return (0, 0) + (1,) * self.config.ships

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Start new episodes in some worlds [W]."""
        if scene is not None:
            raise ValueError("harbor has no scenes")
        self.state["free"][worlds] = self._draw(len(worlds), generator)
        self.state["flawless"][worlds] = True

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Pay agents that steer to the free berth, and draw another one."""
        right = actions == self.state["free"].unsqueeze(1)
        self.state["flawless"] = self.state["flawless"] & right.all(1)
        self.state["free"] = self._draw(self.num_worlds, generator)
        ended = torch.zeros_like(self.state["flawless"])  # only max_steps ends an episode
        return Transition(right.float(), ended, torch.ones_like(right))

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[W, N, berths], one-hot for keepers and zeros for ships."""
        free = self.state["free"] if worlds is None else self.state["free"][worlds]
        return one_hot(free, self.config.berths).unsqueeze(1) * self.sees

    def success(self) -> Tensor:
        """[B] bool, whether all agents were right so far."""
        return self.state["flawless"].clone()

    def _draw(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(self.config.berths, (count,), generator=generator, device=self.device)
