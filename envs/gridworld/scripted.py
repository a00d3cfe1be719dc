"""Scripted policies for the grid tasks: baselines without communication, with it, and at random.

They show that a task is solvable and what communication is worth in it. They read the world's state for speed, but
decide only by what an agent would know: its own cell, the prey once it has been in the agent's window, and, when
sharing, what the others know.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from envs.gridworld.grid import GridWorld
from envs.gridworld.predator_capture_prey import CAPTURE_ACTION

UP, RIGHT, DOWN, LEFT, STAY = range(5)


class Policy(Protocol):
    """The interface of scripted policies."""

    def reset(self, worlds: Tensor | None = None) -> None:
        """Forget everything about the given worlds ([W] int64 indices), or about all; call when episodes start."""

    def act(self) -> Tensor:
        """Actions [B, N] int64 for the world's present state."""


class RandomPolicy:
    """Uniformly random actions."""

    def __init__(self, world: GridWorld, seed: int = 0) -> None:
        self._world = world
        self._generator = torch.Generator(world.device).manual_seed(seed)

    def reset(self, worlds: Tensor | None = None) -> None:
        """Does nothing: random actions depend on nothing."""

    def act(self) -> Tensor:
        """Actions [B, N] int64."""
        shape = (self._world.num_worlds, self._world.num_agents)
        return torch.randint(self._world.num_actions, shape, generator=self._generator, device=self._world.device)


class ScriptedPolicy:
    """Agents search, go to the prey, and capture it.

    Sighted agents visit waypoints, whose windows together cover the grid, always the nearest unvisited one, and go to
    the prey once they have seen it. Blind agents sweep the grid row by row from their cell, detect the prey by failing
    to leave its cell, and capture.

    When *sharing*, agents share visited waypoints, head for different ones, and all know the prey's cell as soon as one
    has seen it: blind agents then go straight there and capture without trying to leave first.
    """

    def __init__(self, world: GridWorld, sharing: bool) -> None:
        self._world = world
        self._sharing = sharing
        self._sighted = torch.tensor([not kind.blind for kind in world.team], device=world.device)
        self._scouts = [i for i, kind in enumerate(world.team) if not kind.blind]
        size, device = world.size, world.device
        self._waypoints = torch.tensor(_snake(size, world.vision), device=device)
        self._numbers = torch.arange(len(self._waypoints), device=device)
        sweep = torch.tensor(_snake(size, 0), device=device)
        self._sweep = sweep
        self._rank = torch.empty_like(sweep)
        self._rank[sweep] = torch.arange(size**2, device=device)
        shape = (world.num_worlds, world.num_agents)
        self._knows = torch.zeros(shape, dtype=torch.bool, device=device)
        self._visited = torch.zeros(*shape, len(self._waypoints), dtype=torch.bool, device=device)
        self._target = torch.full(shape, -1, device=device)  # number of the waypoint headed for, or -1
        self._forward = torch.ones(shape, dtype=torch.bool, device=device)  # direction of the sweep
        self._left = torch.full(shape, -1, device=device)  # cell the agent last tried to leave, or -1
        self.reset()

    def reset(self, worlds: Tensor | None = None) -> None:
        """Forget everything about the given worlds ([W] int64 indices), or about all; call when episodes start."""
        where = slice(None) if worlds is None else worlds
        self._knows[where] = False
        self._visited[where] = False
        self._target[where] = -1
        self._left[where] = -1
        # The sweep starts towards the farther end.
        rank = self._rank[self._world.state["cells"][where]]
        self._forward[where] = len(self._sweep) - rank >= rank

    def act(self) -> Tensor:
        """Actions [B, N] int64 for the world's present state."""
        cells, prey = self._world.state["cells"], self._world.state["prey"]
        self._sense(cells, prey)
        self._choose_targets(cells)
        # A blind agent whose move failed is on the prey's cell, which is the only cell that agents cannot leave.
        held = ~self._sighted & (self._left == cells)
        goal = torch.where(self._sighted, self._waypoints[self._target.clamp_min(0)], self._next_of_sweep(cells))
        goal = torch.where(self._knows, prey, goal)
        action = self._towards(cells, goal)
        found = ~self._sighted & (held | (self._knows & (cells == prey)))
        self._left = torch.where(action == STAY, -1, cells)
        return torch.where(found, CAPTURE_ACTION, action)

    def _sense(self, cells: Tensor, prey: Tensor) -> None:
        size, vision = self._world.size, self._world.vision
        near = ((cells // size - prey // size).abs() <= vision) & ((cells % size - prey % size).abs() <= vision)
        self._knows |= near & self._sighted
        self._visited |= (cells.unsqueeze(2) == self._waypoints) & self._sighted.unsqueeze(1)
        if self._sharing:
            self._knows |= self._knows.any(1, keepdim=True)
            self._visited |= self._visited.any(1, keepdim=True)

    def _choose_targets(self, cells: Tensor) -> None:
        """Assign new waypoints to scouts that have visited theirs, in turn; sharing scouts avoid each other's."""
        size = self._world.size
        for i in self._scouts:
            done = self._visited[:, i].all(1)
            if self._sharing:
                self._visited &= ~done.view(-1, 1, 1)
            else:
                self._visited[:, i] &= ~done.unsqueeze(1)
            visited = self._visited[:, i]
            old = self._target[:, i]
            stale = (old < 0) | visited.gather(1, old.clamp_min(0).unsqueeze(1)).squeeze(1)
            here = cells[:, i].unsqueeze(1)
            cost = (here // size - self._waypoints // size).abs() + (here % size - self._waypoints % size).abs()
            cost = cost + visited * _NEVER
            if self._sharing:
                # Two scouts head for the same waypoint only if all unvisited ones are taken.
                heading = self._target.unsqueeze(2) == self._numbers
                cost = cost + ((heading.sum(1) - heading[:, i].long()) > 0) * _RELUCTANT
            self._target[:, i] = torch.where(stale, cost.argmin(1), old)

    def _next_of_sweep(self, cells: Tensor) -> Tensor:
        """[B, N], next cell of the sweep, which turns back at both ends."""
        last = len(self._sweep) - 1
        rank = self._rank[cells]
        self._forward = torch.where(self._forward, rank < last, rank == 0)
        return self._sweep[torch.where(self._forward, rank + 1, rank - 1)]

    def _towards(self, cells: Tensor, goal: Tensor) -> Tensor:
        """[B, N], move that brings each agent closer to its goal, rows first."""
        size = self._world.size
        down, right = goal // size - cells // size, goal % size - cells % size
        along_row = torch.where(right > 0, RIGHT, torch.where(right < 0, LEFT, STAY))
        return torch.where(down > 0, DOWN, torch.where(down < 0, UP, along_row))


_RELUCTANT, _NEVER = 1_000, 1_000_000  # both beyond any distance on the grid


def _snake(size: int, vision: int) -> list[int]:
    """Cells whose windows cover the grid, row by row, with every second row reversed."""
    stops = list(range(min(vision, (size - 1) // 2), size, 2 * vision + 1))
    if stops[-1] < size - 1 - vision:
        stops.append(size - 1 - vision)
    rows = [[row * size + column for column in stops] for row in stops]
    return [cell for i, row in enumerate(rows) for cell in (row if i % 2 == 0 else row[::-1])]
