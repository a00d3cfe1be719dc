"""A task in any action space: each agent is shown what its neighbour should do, and must be told.

An agent sees a target option of the action space, that of the next agent, and earns 1 if its own action belongs to its
own target option. With masks, the option after an agent's target is impossible at even steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.continuous import Continuous
from agentcomm.contracts.discrete import Discrete, MultiDiscrete
from agentcomm.contracts.world import Observation, Transition, World, WorldConfig

AGENTS = 3
SPACES: dict[str, ActionSpace] = {
    "discrete": Discrete(("a", "b", "c", "d")),
    "sizes": Discrete(("a", "b", "c", "d"), sizes=(4, 3, 2)),
    "multi": MultiDiscrete((3, 2, 2)),
    "multi sizes": MultiDiscrete((3, 2), sizes=((3, 2), (2, 2), (3, 1))),
    "continuous": Continuous((-1.0, 0.0), (1.0, 4.0)),
    "dimensions": Continuous((-1.0, 0.0), (1.0, 4.0), dimensions=(2, 1, 2)),
    "unbounded": Continuous((-float("inf"),), (float("inf"),)),
}
MASKED = ("discrete", "sizes", "multi")  # spaces that the world can mask


class MatchingConfig(WorldConfig):
    """Arguments of the task."""

    space: str = Field("discrete", description="a name in SPACES")
    masks: bool = Field(False, description="whether some actions are impossible at times")
    observation: Literal["dense"] = Field("dense", description="vectors")
    max_steps: int = Field(4, ge=1, description="steps of an episode")


class Matching(World[MatchingConfig]):
    """Agents match targets that their neighbours are shown."""

    def __init__(self, config: MatchingConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        self.space = SPACES[config.space]
        self.agents = tuple(f"agent_{number}" for number in range(AGENTS))
        self.masks_actions = config.masks
        self.layout = Observation("dense", self.space.options, low=0.0, high=1.0)
        self.state = {"target": torch.zeros(num_worlds, AGENTS, dtype=torch.int64, device=self.device)}

    @property
    def actions(self) -> ActionSpace:
        return self.space

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        drawn = self.space.draw((len(worlds), AGENTS), generator, self.device)
        self.state["target"][worlds] = self._option(drawn)

    def _option(self, executed: Tensor) -> Tensor:
        """Options of executed actions."""
        if not isinstance(self.space, Continuous):
            return self.space.option_of(executed)
        low, high = executed.new_tensor(self.space.low), executed.new_tensor(self.space.high)
        bounded = low.isfinite()
        unit = torch.where(bounded, 2 * (executed - low) / (high - low) - 1, executed.tanh())
        return self.space.option_of(unit.clamp(-0.999, 0.999).atanh().nan_to_num())

    def allowed(self) -> Tensor:
        out = torch.ones(self.num_worlds, AGENTS, self.space.parameters, dtype=torch.bool, device=self.device)
        even = (self.length % 2 == 0).view(-1, 1)
        first = self.space.components[0] if isinstance(self.space, MultiDiscrete) else 2
        after = (self.space.from_option(self.state["target"]) + 1) % first
        after = after[..., 0] if after.dim() == 3 else after
        return out.scatter(2, after.unsqueeze(2), ~even.expand(-1, AGENTS).unsqueeze(2))

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        right = self._option(actions) == self.state["target"]
        never = torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
        return Transition(right.float(), never, torch.ones_like(right))

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        target = self.state["target"] if worlds is None else self.state["target"][worlds]
        return one_hot(target.roll(-1, 1), self.space.options).float()

    def success(self) -> Tensor:
        return torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
