"""Scripted drivers for Traffic Junction: baselines at random, blind, without communication, and with it.

They read the world's state for speed, but decide only by what a car would know. Share of episodes without a collision,
by difficulty and arrival, in 20,000 episodes (medium and hard 4,000):

| | easy .3 | easy .1 | medium .2 | medium .05 | hard .05 | hard .02 |
|---|---|---|---|---|---|---|
| always | .283 | .846 | .034 | .729 | .074 | .634 |
| at random | .006 | .421 | .000 | .201 | .000 | .137 |
| careful | .615 | .966 | | | | |
| informed | .997 | 1.000 | 1.000 | 1.000 | 1.000 | 1.000 |

In IC3Net's released environment ``always`` reaches .292, medium .034 and .734, hard .072 and .637 (1,500 to 3,000
episodes each).
"""

from __future__ import annotations

import torch
from torch import Tensor

from envs.traffic.traffic_junction import BRAKE, GAS, TrafficJunction


def always(world: TrafficJunction) -> Tensor:
    """Always go: actions [B, N] int64."""
    return torch.full_like(world.state["route"], GAS)


def at_random(world: TrafficJunction, generator: torch.Generator) -> Tensor:
    """Go or stay at random: actions [B, N] int64."""
    return torch.randint(2, world.state["route"].shape, generator=generator, device=world.device)


def careful(world: TrafficJunction) -> Tensor:
    """Without messages on the easy map, seeing one cell in each direction: actions [B, N] int64.

    A car enters no cell in which it sees another, and before the junction those on the road to the right also wait for
    one that they see in the other road's last cell before it.
    """
    if world.config.difficulty != "easy":
        raise ValueError(f"the careful driver knows the easy map only, not difficulty={world.config.difficulty!r}")
    cell, following = world.cells, _following(world)
    count = world.roads.num_cells + 1
    occupied = torch.zeros(len(cell), count, dtype=torch.bool, device=world.device).scatter(1, cell, True)
    occupied[:, -1] = False
    down, right = world.roads.on_route
    waits = (cell == right[2]) & occupied[:, down[2]].unsqueeze(1)
    return torch.where(occupied.gather(1, following) | waits, BRAKE, GAS)


def informed(world: TrafficJunction) -> Tensor:
    """With everybody's cell and route known: actions [B, N] int64.

    Of cars that want the same cell, the one closest to its end goes first, and then that of the lower route; a car
    follows one that goes on, and stays behind one that stays.
    """
    route, place, alive = (world.state[name] for name in ("route", "place", "alive"))
    cell, following = world.cells, _following(world)
    rank = (world.roads.length[route.clamp_min(0)] - place) * world.roads.num_routes + route
    wants = following.masked_fill(~alive | (following == world.roads.num_cells), -1)
    same = (wants.unsqueeze(2) == wants.unsqueeze(1)) & (wants >= 0).unsqueeze(2)
    beaten = same & (rank.unsqueeze(2) > rank.unsqueeze(1))  # [B, N, N], the first loses to the second
    behind = (wants.unsqueeze(2) == cell.unsqueeze(1)) & alive.unsqueeze(1)
    stays = torch.zeros_like(alive)
    for _ in range(world.num_agents):
        stays = stays | (behind & stays.unsqueeze(1)).any(2) | (beaten & ~stays.unsqueeze(1)).any(2)
    return torch.where(stays, BRAKE, GAS)


def _following(world: TrafficJunction) -> Tensor:
    """[B, N], the next road cell of each car; the number of road cells behind the end and in free slots."""
    route = world.state["route"]
    following = world.roads.on_route[route.clamp_min(0), world.state["place"] + 1]
    return following.masked_fill(route < 0, world.roads.num_cells)
