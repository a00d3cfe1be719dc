"""Predator-Prey: predators with limited vision search a grid for a prey that does not move.

Rules and observations are those of IC3Net (Singh et al., ICLR 2019, arXiv 1812.09755), on which CommFormer is trained.

Actions: up, right, down, left, stay. Predators and prey start on distinct random cells; predators may share a cell and
stay on the prey's cell once they have reached it. Each predator gets -0.05 per step until then. On the prey's cell it
gets, by mode, 0 (*mixed*), 0.05 times the number of predators there (*cooperative*) or 0.05 divided by that number
(*competitive*). A mixed episode terminates when all predators have arrived; episodes of the other modes run for
``max_steps``.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.world import Transition
from agentcomm.pettingzoo.view import ParallelView, view
from envs.gridworld.grid import MOVE_NAMES, STEP_COST, GridConfig, GridWorld, Kind

PREDATOR = Kind("predator", code=3)
Mode = Literal["mixed", "cooperative", "competitive"]


class PredatorPreyConfig(GridConfig):
    """Arguments of Predator-Prey."""

    predators: int = Field(3, ge=1, le=64, description="number of agents")
    mode: Mode = Field(
        "mixed",
        description="reward on the prey's cell: 0, 0.05 times the number of predators there, or 0.05 divided by it",
    )

    @property
    def num_agents(self) -> int:
        """N."""
        return self.predators


class PredatorPrey(GridWorld[PredatorPreyConfig]):
    """B copies of Predator-Prey."""

    action_names = MOVE_NAMES

    def __init__(self, config: PredatorPreyConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, [PREDATOR] * config.predators, num_worlds, device)
        self._ends_on_success = config.mode == "mixed"
        on_prey = torch.arange(config.predators + 1, dtype=torch.float32)
        if config.mode == "mixed":
            on_prey = torch.zeros_like(on_prey)
        elif config.mode == "competitive":
            on_prey = 1.0 / on_prey
        self._reward_on_prey = (0.05 * on_prey).to(self.device)

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Move, then reward; steps are deterministic."""
        alive = self.alive
        before, arrived = self.move(actions)
        if self._ends_on_success:
            reward = (~arrived) * STEP_COST
            terminated = (arrived | ~alive).all(1)
        else:
            on_prey = arrived & alive
            reward = torch.where(on_prey, self._reward_on_prey[on_prey.sum(1, keepdim=True)], STEP_COST)
            terminated = torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
        return Transition(reward=reward * alive, terminated=terminated, active=~before & alive)

    def success(self) -> Tensor:
        """[B] bool, all present predators are on the prey's cell."""
        return ((self.state["cells"] == self.state["prey"]) | ~self.alive).all(1)


def parallel_env(**arguments: Any) -> ParallelView:
    """One Predator-Prey world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("predator_prey", **arguments)
