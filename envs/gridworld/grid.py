"""A base for the two grid tasks: a grid of cells with agents and one prey that does not move.

Shapes: B worlds, N agents, S = size, cells are numbered row by row (cell = row * S + column).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.contracts.world import DrawnMessage, World, WorldConfig
from envs.gridworld.drawing import draw_picture, draw_text
from envs.gridworld.sight import Sight

# Rows and columns moved by up, right, down, left, stay: the action numbers of the reference tasks.
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))
MOVE_NAMES = ("up", "right", "down", "left", "stay")
STEP_COST = -0.05


@dataclass(frozen=True)
class Kind:
    """A kind of agent.

    Attributes:
        name: Agents are named ``{name}_{number}``.
        code: The one of a window cell's four class entries that shows such agents.
        blind: Whether it observes only its own position.
    """

    name: str
    code: int
    blind: bool = False


class GridConfig(WorldConfig):
    """Arguments of both grid tasks."""

    size: int = Field(5, ge=2, le=40, description="rows and columns of the grid")
    vision: int = Field(1, ge=0, le=10, description="cells that an agent sees in each direction")
    start: int | None = Field(
        None, ge=2, description="rows and columns of a random square in which all start; the whole grid when not given"
    )

    @property
    @abstractmethod
    def num_agents(self) -> int:
        """N."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.start is not None and self.start > self.size:
            raise ValueError(f"start={self.start} is larger than the grid of size={self.size}")
        name, side = ("size", self.size) if self.start is None else ("start", self.start)
        if self.num_agents + 1 > side**2:
            raise ValueError(f"{self.num_agents} agents and a prey need distinct cells; {name}={side} has {side**2}")
        if self.fewest is not None and self.fewest > self.num_agents:
            raise ValueError(f"fewest={self.fewest} is more than the team's {self.num_agents} members")
        return self


G_co = TypeVar("G_co", bound=GridConfig, default=GridConfig, covariant=True)


class GridWorld(World[G_co]):
    """B grids; subclasses add the rules.

    State: ``cells`` [B, N] and ``prey`` [B, 1], both int64 cell numbers; where members can fail ``alive`` [B, N] bool.
    """

    can_lose_members = True
    score = "mean_steps"  # until the prey is caught

    def __init__(
        self, config: G_co, team: Sequence[Kind], num_worlds: int = 1, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(config, num_worlds, device)
        self.size = config.size
        self.vision = config.vision
        self.team = tuple(team)
        names = [kind.name for kind in team]
        self.agents = tuple(f"{name}_{names[:i].count(name)}" for i, name in enumerate(names))
        self._sight = Sight(
            self.size,
            self.vision,
            codes=[kind.code for kind in team],
            blind=[kind.blind for kind in team],
            kind=config.observation,
            device=self.device,
        )
        self.layout = self._sight.layout
        self._next_cell = _next_cells(self.size, len(self.action_names)).to(self.device)
        self.state = {
            "cells": torch.zeros(num_worlds, len(team), dtype=torch.int64, device=self.device),
            "prey": torch.zeros(num_worlds, 1, dtype=torch.int64, device=self.device),
        }
        if config.loses_members:
            self.state["alive"] = torch.ones(num_worlds, len(team), dtype=torch.bool, device=self.device)

    @property
    def roles(self) -> tuple[int, ...]:
        """Number of each agent's kind."""
        kinds = list(dict.fromkeys(self.team))
        return tuple(kinds.index(kind) for kind in self.team)

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Put agents and prey on distinct random cells, of a random square if ``start`` is given, or of the scene.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"positions": [[row, column], ...], "prey": [[row, column]]}``, agents in the order of
                ``agents``. In a scene agents may share cells, and one that starts on the prey's cell has arrived.

        Raises:
            ValueError: If a key is missing or unknown, or a position is not a cell of the grid.
        """
        if scene is None:
            side = self.config.start or self.size
            # The positions of the largest random keys are a uniform draw without replacement.
            keys = torch.rand(len(worlds), side**2, generator=generator, device=self.device)
            drawn = keys.topk(self.num_agents + 1, dim=1).indices
            if side < self.size:
                first = torch.randint(
                    self.size - side + 1, (2, len(worlds), 1), generator=generator, device=self.device
                )
                drawn = (first[0] + drawn // side) * self.size + first[1] + drawn % side
        else:
            drawn = self._read(scene).expand(len(worlds), -1)
        self.state["cells"][worlds] = drawn[:, :-1]
        self.state["prey"][worlds] = drawn[:, -1:]

    def _read(self, scene: Mapping[str, Any]) -> Tensor:
        expected = {"positions": self.num_agents, "prey": 1}
        for key in scene:
            if key not in expected:
                raise ValueError(f"scene: unknown key {key!r}; it has 'positions' and 'prey'")
        cells: list[int] = []
        for key, count in expected.items():
            if key not in scene:
                raise ValueError(f"scene: {key!r} is missing")
            try:
                places = np.asarray(scene[key])
            except ValueError:  # ragged
                places = np.empty(0)
            if places.shape != (count, 2) or not np.issubdtype(places.dtype, np.integer):
                raise ValueError(f"scene: {key!r} must be {count} [row, column] pairs of integers, not {scene[key]!r}")
            if places.min() < 0 or places.max() >= self.size:
                raise ValueError(f"scene: {key!r} must lie in 0 .. {self.size - 1}, not {scene[key]!r}")
            cells.extend(int(row) * self.size + int(column) for row, column in places)
        return torch.tensor([cells], device=self.device)

    def move(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Move every agent that is not on the prey's cell; moves off the grid leave an agent in place.

        Agents that have left move, too, but have no effect; :attr:`alive` tells which these are.

        Args:
            actions: [B, N] int64.

        Returns:
            Whether agents were on the prey's cell before the move, and after it, both [B, N] bool.
        """
        cells, prey = self.state["cells"], self.state["prey"]
        before = cells == prey
        moved = torch.take(self._next_cell, cells * self.num_actions + actions)
        self.state["cells"] = cells = torch.where(before, cells, moved)
        return before, cells == prey

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, O] float32, or [B, N, K] int64 with ``observation="indices"``: see :class:`Sight`."""
        cells, prey = self.state["cells"], self.state["prey"]
        alive = self.state.get("alive")
        if worlds is not None:
            cells, prey = cells[worlds], prey[worlds]
            alive = None if alive is None else alive[worlds]
        return self._sight.look(cells, prey, alive)

    def readings(self) -> Tensor | None:
        """Cells for an agent's own position; window cells for the prey and others, which blind agents do not see."""
        return self._sight.readings

    def scene(self, world: int) -> dict[str, Any]:
        """Positions as [row, column], for the report's player."""
        return {
            "size": self.size,
            "agents": [list(divmod(cell, self.size)) for cell in self.state["cells"][world].tolist()],
            "prey": [list(divmod(cell, self.size)) for cell in self.state["prey"][world].tolist()],
            "kinds": [kind.name for kind in self.team],
            "vision": [None if kind.blind else self.vision for kind in self.team],
        } | ({"alive": self.alive[world].tolist()} if self.config.loses_members else {})

    def facts(self) -> dict[str, Tensor]:
        """Role, row and column; whether a sighted agent sees the prey, and whether an agent has reached it."""
        cells, prey = self.state["cells"], self.state["prey"]
        row, column = cells // self.size, cells % self.size
        near = ((row - prey // self.size).abs() <= self.vision) & ((column - prey % self.size).abs() <= self.vision)
        blind = torch.tensor([kind.blind for kind in self.team], device=self.device)
        known = {"row": row, "column": column, "sees the prey": near.long().masked_fill(blind, -1)}
        known["is at the prey"] = (cells == prey).long()
        return super().facts() | {name: fact.masked_fill(~self.alive, -1) for name, fact in known.items()}

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text with links listed below the grid, or as an [H, W, 3] uint8 image with arrows.

        Raises:
            ValueError: If the mode is unknown.
        """
        if mode == "ansi":
            return draw_text(self.scene(world), self.agents, links or [])
        if mode == "rgb_array":
            return draw_picture(self.scene(world), [kind.blind for kind in self.team], links or [])
        raise ValueError(f"render mode must be 'ansi' or 'rgb_array', not {mode!r}")


def _next_cells(size: int, num_actions: int) -> Tensor:
    """[S * S * num_actions], cell reached from each cell by each action; other actions than moves stay."""
    cell = torch.arange(size**2).unsqueeze(1)
    moves = torch.tensor([*MOVES, *[(0, 0)] * (num_actions - len(MOVES))])
    row = (cell // size + moves[:, 0]).clamp(0, size - 1)
    column = (cell % size + moves[:, 1]).clamp(0, size - 1)
    return (row * size + column).flatten()
