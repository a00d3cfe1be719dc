"""Predator-Prey as a world written in the way of VMAS: plain batched torch, one tensor per agent, agents in a loop.

It is what our own world is timed against (`peers.py`). Rules and dense observations are those of ``predator_prey`` in
the mode *mixed*; nothing of the testbed is used.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))  # up, right, down, left, stay
OUTSIDE, PREY, PREDATOR = 1, 2, 3  # class entries of a window cell
CLASSES = 4
STEP_COST = -0.05


class PlainPredatorPrey:
    """B copies of Predator-Prey.

    Args:
        worlds: B.
        size: Rows and columns S of the grid.
        predators: N.
        vision: Cells that a predator sees in each direction.
        max_steps: Steps after which an episode is truncated.
        seed: Of the starts.
    """

    def __init__(self, worlds: int, size: int, predators: int, vision: int, max_steps: int, seed: int = 0) -> None:
        self.worlds, self.size, self.vision, self.max_steps = worlds, size, vision, max_steps
        self.num_agents, self.num_actions = predators, len(MOVES)
        self._moves = torch.tensor(MOVES)
        self._generator = torch.Generator().manual_seed(seed)
        self.places = [torch.zeros(worlds, 2, dtype=torch.int64) for _ in range(predators)]
        self.prey = torch.zeros(worlds, 2, dtype=torch.int64)
        self.length = torch.zeros(worlds, dtype=torch.int64)

    def reset(self) -> list[Tensor]:
        """Start all episodes; returns [B, O] observations, one per agent."""
        self._begin(torch.ones(self.worlds, dtype=torch.bool))
        return [self._observe(agent) for agent in range(self.num_agents)]

    def step(self, actions: list[Tensor]) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Take a step, and restart the worlds whose episode ended.

        Args:
            actions: [B] int64, one per agent.

        Returns:
            Observations [B, O] and rewards [B] per agent, and which episodes ended [B].
        """
        arrived = []
        for agent, action in enumerate(actions):
            place = self.places[agent]
            there = (place == self.prey).all(1, keepdim=True)
            place = torch.where(there, place, (place + self._moves[action]).clamp(0, self.size - 1))
            self.places[agent] = place
            arrived.append((place == self.prey).all(1))
        self.length += 1
        done = torch.stack(arrived).all(0) | (self.length >= self.max_steps)
        rewards = [~there * STEP_COST for there in arrived]
        if done.any():
            self._begin(done)
        return [self._observe(agent) for agent in range(self.num_agents)], rewards, done

    def _begin(self, worlds: Tensor) -> None:
        """Start episodes in worlds [B] bool, everybody on a cell of its own."""
        drawn = torch.rand(int(worlds.sum()), self.size**2, generator=self._generator).argsort(1)
        for agent in range(self.num_agents):
            self.places[agent][worlds] = self._place(drawn[:, agent])
        self.prey[worlds] = self._place(drawn[:, self.num_agents])
        self.length[worlds] = 0

    def _place(self, cell: Tensor) -> Tensor:
        """Row and column [..., 2] of cells."""
        return torch.stack((cell // self.size, cell % self.size), -1)

    def _observe(self, agent: int) -> Tensor:
        """[B, O] float32: per cell of the agent's window, the one-hot code of its position and its classes."""
        seen, own = [], self.places[agent]
        for row in range(-self.vision, self.vision + 1):
            for column in range(-self.vision, self.vision + 1):
                cell = own + torch.tensor((row, column))
                inside = ((cell >= 0) & (cell < self.size)).all(1)
                number = (cell[:, 0] * self.size + cell[:, 1]).clamp(0, self.size**2 - 1)
                position = torch.nn.functional.one_hot(number, self.size**2) * inside[:, None]
                classes = torch.zeros(self.worlds, CLASSES)
                classes[:, OUTSIDE] = (~inside).float()
                classes[:, PREY] = (cell == self.prey).all(1).float()
                for place in self.places:
                    classes[:, PREDATOR] += (cell == place).all(1)
                seen += [position.float(), classes]
        return torch.cat(seen, 1)
