"""Scripted collectors: with everything known, with and without messages, and at random.

They read the world's state for speed, but decide only by what an agent would know: its own place, what its sensors have
met so far, and with messages what those of others have.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from envs.food.food_collector import STEPS, FoodCollector
from envs.food.sensing import CENTER, OBSTACLE

# A tour around the obstacle, from which sensors reach everything.
TOUR = (
    *((0.18, 0.1), (0.5, 0.1), (0.82, 0.1), (0.9, 0.18), (0.9, 0.5), (0.9, 0.82)),
    *((0.82, 0.9), (0.5, 0.9), (0.18, 0.9), (0.1, 0.82), (0.1, 0.5), (0.1, 0.18)),
    *((0.24, 0.24), (0.5, 0.24), (0.76, 0.24), (0.76, 0.5), (0.76, 0.76), (0.5, 0.76), (0.24, 0.76), (0.24, 0.5)),
)
CLEAR = OBSTACLE + 0.04  # of the middle of the obstacle, on a straight way


class Collectors:
    """Agents that go straight to their food once they know where it is, and tour the square before.

    Args:
        world: The worlds, at the start of their episodes, with discrete actions.
        team: ``knowing`` everything; ``told`` what others' sensors meet; or ``silent``.
    """

    def __init__(self, world: FoodCollector, team: Literal["knowing", "told", "silent"]) -> None:
        self.world, self.team = world, team
        self.tour = torch.tensor(TOUR, device=world.device)
        self.known = torch.zeros_like(world.state["eaten"])
        self.next = torch.cdist(world.state["place"], self.tour[:12].expand(world.num_worlds, -1, -1)).argmin(2)

    def act(self) -> Tensor:
        """[B, N] int64, actions in the present step."""
        world, place = self.world, self.world.state["place"]
        everyone = torch.arange(world.num_worlds, device=world.device)
        met = (world.sensed(everyone)[..., -world.num_agents :] > 0).any(2)  # [B, N agents, N foods]
        own = met.diagonal(dim1=1, dim2=2)
        seen = {"knowing": torch.ones_like(own), "told": met.any(1), "silent": own}[self.team]
        self.known |= seen
        arrived = (self.tour[self.next] - place).norm(dim=2) < 0.03
        self.next = torch.where(arrived, (self.next + 1) % len(TOUR), self.next)
        target = torch.where(self.known.unsqueeze(2), self._around(place), self.tour[self.next])
        steps = torch.tensor(STEPS, device=world.device)
        left = (place.unsqueeze(2) + steps - target.unsqueeze(2)).norm(dim=3)
        return torch.where(world.state["eaten"], 0, left.argmin(2))

    def _around(self, place: Tensor) -> Tensor:
        """[B, N, 2], the food, or where the obstacle is in the way a place beside it."""
        food = self.world.state["food"]
        way, off = food - place, place - CENTER
        share = (-(off * way).sum(2) / way.square().sum(2).clamp_min(1e-9)).clamp(0.0, 1.0)
        nearest = off + share.unsqueeze(2) * way
        blocked = nearest.norm(dim=2) < CLEAR - 0.02
        side = nearest / nearest.norm(dim=2, keepdim=True).clamp_min(1e-6)
        # Straight through the middle both sides are as good.
        across = torch.stack([-way[..., 1], way[..., 0]], 2) / way.norm(dim=2, keepdim=True).clamp_min(1e-6)
        side = torch.where(nearest.norm(dim=2, keepdim=True) > 1e-3, side, across)
        return torch.where(blocked.unsqueeze(2), CENTER + side * (CLEAR + 0.06), food)
