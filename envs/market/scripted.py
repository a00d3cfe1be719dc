"""Scripted policies for the task market: random, trusting claims, trusting reputations, and with full knowledge.

They read the world's state for speed; all but the oracle decide only by what an agent observes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from envs.market.task_market import FIRST, PASS, TaskMarket

Choice = Literal["random", "claim", "reputation", "oracle"]


class MarketPolicy:
    """Requesters delegate at once, by one criterion; workers do tasks that they deliver with probability above 0.5.

    ``random`` takes random actions. ``claim`` delegates to the listed card with the highest claim, ``reputation`` to
    that with the highest reputation, from the hub and the requester's own experience. Both use no messages. ``oracle``
    knows who is behind each listed card, their skills, and which workers others ask: all that messages could tell.

    Args:
        world: The market to act in.
        choice: The criterion.
        seed: Seed of random actions and ties.
    """

    def __init__(self, world: TaskMarket, choice: Choice, seed: int = 0) -> None:
        self._world = world
        self._choice = choice
        self._generator = torch.Generator(world.device).manual_seed(seed)

    def act(self) -> Tensor:
        """Actions [B, N] int64 for the world's present state."""
        world = self._world
        if self._choice == "random":
            shape = (world.num_worlds, world.num_agents)
            return torch.randint(world.num_actions, shape, generator=self._generator, device=world.device)
        return torch.cat([self._requests(), self._work()], 1)

    def _requests(self) -> Tensor:
        s = self._world.state
        if self._choice == "oracle":
            return self._informed()
        noise = 1e-4 * torch.rand(s["shown_claim"].shape, generator=self._generator, device=self._world.device)
        worth = s["shown_claim"] if self._choice == "claim" else self._standing()
        worth = (worth + noise).masked_fill(s["listed"] < 0, -1.0)
        best = worth.argmax(2) + FIRST
        return torch.where((s["listed"] >= 0).any(2), best, PASS)

    def _standing(self) -> Tensor:
        """[B, R, k], the hub's reputations combined with the requester's own experience."""
        s = self._world.state
        index = s["shown_name"].clamp_min(0)
        good, poor = (s[name].gather(2, index) for name in ("good", "poor"))
        return (2 * s["shown_reputation"] + good) / (2 + good + poor)

    def _informed(self) -> Tensor:
        """Requesters choose in turn, each the most able worker not asked by an earlier one."""
        s, world = self._world.state, self._world
        origin = world.directory.cards.origin.unsqueeze(1).expand(-1, s["need"].shape[1], -1)
        origin = origin.gather(2, s["listed"].clamp_min(0))
        skill = torch.nn.functional.pad(s["skill"], (0, 0, 0, 1))  # nothing is expected of outsiders
        need = s["need"].unsqueeze(2).expand_as(origin)
        worlds = torch.arange(world.num_worlds, device=world.device).view(-1, 1, 1)
        worth = skill[worlds, origin, need].masked_fill(s["listed"] < 0, -1.0)
        taken = torch.zeros(world.num_worlds, skill.shape[1], dtype=torch.bool, device=world.device)
        actions = []
        for number in range(s["need"].shape[1]):
            free = worth[:, number].masked_fill(taken.gather(1, origin[:, number]), -1.0)
            value, place = free.max(1)
            asks = (s["holder"][:, number] < 0) & (value > 0.5)
            actions.append(torch.where(asks, place + FIRST, PASS))
            target = origin[:, number].gather(1, place.unsqueeze(1))
            taken = taken.scatter(1, target, taken.gather(1, target) | asks.unsqueeze(1))
        return torch.stack(actions, 1)

    def _work(self) -> Tensor:
        """Workers do their task if they are able to, and return it otherwise."""
        s, workers = self._world.state, self._world.config.workers
        has = s["holder"].unsqueeze(1) == torch.arange(workers, device=self._world.device).view(1, -1, 1)
        need = s["need"].unsqueeze(1).expand_as(has).gather(2, has.long().argmax(2, keepdim=True))
        able = s["skill"].gather(2, need).squeeze(2) > 0.5
        return torch.where(able & has.any(2), FIRST, PASS)
