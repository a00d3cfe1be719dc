"""Predator-Capture-Prey: sighted perception agents must lead blind capture agents to the prey.

Rules and observations are those of HetNet (Seraj et al., AAMAS 2022, arXiv 2108.09568) and MAGIC.

Actions: up, right, down, left, stay, capture. Agents start on distinct random cells, may share a cell, and stay on the
prey's cell once they have reached it. Capture has an effect only for a capture agent on that cell. A perception agent
gets -0.05 per step until it has arrived, a capture agent until it has captured; with ``reward_scheme="split"`` a
capture agent that has arrived gets half of that. The episode terminates when all agents have arrived and all capture
agents have captured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.world import Transition
from agentcomm.pettingzoo.view import ParallelView, view
from envs.gridworld.grid import MOVE_NAMES, STEP_COST, GridConfig, GridWorld, Kind

PERCEPTION = Kind("perception", code=3)
CAPTURE = Kind("capture", code=0, blind=True)
CAPTURE_ACTION = len(MOVE_NAMES)
RewardScheme = Literal["single", "split"]


class PredatorCapturePreyConfig(GridConfig):
    """Arguments of Predator-Capture-Prey."""

    perception_agents: int = Field(2, ge=1, le=64, description="number of perception agents, which see")
    capture_agents: int = Field(1, ge=1, le=64, description="number of capture agents, which are blind")
    reward_scheme: RewardScheme = Field(
        "single", description="cost of a capture agent on the prey's cell before it captures: full, or half (split)"
    )

    @property
    def num_agents(self) -> int:
        """N."""
        return self.perception_agents + self.capture_agents


class PredatorCapturePrey(GridWorld[PredatorCapturePreyConfig]):
    """B copies of Predator-Capture-Prey. State adds ``captured`` [B, N] bool."""

    action_names = (*MOVE_NAMES, "capture")

    def __init__(
        self, config: PredatorCapturePreyConfig, num_worlds: int = 1, device: str | torch.device = "cpu"
    ) -> None:
        team = [PERCEPTION] * config.perception_agents + [CAPTURE] * config.capture_agents
        super().__init__(config, team, num_worlds, device)
        self._captures = torch.tensor([kind is CAPTURE for kind in team], device=self.device)
        self._discount_on_prey = config.reward_scheme == "split"
        self.state["captured"] = torch.zeros(num_worlds, len(team), dtype=torch.bool, device=self.device)

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Start episodes as :class:`envs.gridworld.grid.GridWorld` does, with no captures."""
        super().begin(worlds, generator, scene)
        self.state["captured"][worlds] = False

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Move or capture, then reward; steps are deterministic."""
        captured, alive = self.state["captured"], self.alive
        before, arrived = self.move(actions)
        active = ~torch.where(self._captures, captured, before) & alive
        captures = (actions == CAPTURE_ACTION) & before & self._captures & alive
        self.state["captured"] = captured = captured | captures
        done = torch.where(self._captures, captured, arrived)
        reward = (~done) * STEP_COST
        if self._discount_on_prey:
            reward = torch.where(arrived, reward / 2, reward)
        return Transition(reward=reward * alive, terminated=(done | ~alive).all(1), active=active)

    def success(self) -> Tensor:
        """[B] bool, all present agents have arrived, and all present capture agents have captured."""
        arrived = self.state["cells"] == self.state["prey"]
        return (torch.where(self._captures, self.state["captured"], arrived) | ~self.alive).all(1)

    def scene(self, world: int) -> dict[str, Any]:
        """Positions, and whether agents have captured."""
        return super().scene(world) | {"captured": self.state["captured"][world].tolist()}


def parallel_env(**arguments: Any) -> ParallelView:
    """One Predator-Capture-Prey world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("predator_capture_prey", **arguments)
