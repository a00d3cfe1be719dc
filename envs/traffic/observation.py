"""Observations of Traffic Junction: IC3Net's dense layout, and a compact one of the same information.

Shapes: B worlds, N slots for cars, C road cells, R routes, W = (2 * vision + 1)^2 cells of a car's window.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from agentcomm.contracts.world import Observation
from envs.traffic.roads import Roads


class CarSight:
    """What cars observe; everything is 0, or -1 in indices, in slots without a car.

    *dense* [B, N, 2 + W * (C + 2)] float32: the last action (1 for brake); the number of the route divided by R - 1;
    for each window cell, row by row, the one-hot code of a road cell, an entry for a cell that is no road, and the
    number of cars in it. Road cells have codes of their own; in IC3Net's code those of crossing roads overlap.

    *indices* [B, N, 3 + W] int64: the car's own road cell, its route, its last action, and for each window cell the
    number of cars in it (-1 for none). The vocabulary is C cells, R routes, 2 actions and W * N numbers of cars.

    Attributes:
        layout: The layout of an observation.
    """

    def __init__(self, roads: Roads, cars: int, kind: Literal["dense", "indices"]) -> None:
        self._roads, self._cars = roads, cars
        self._window = roads.near.shape[1]
        self._first_route = roads.num_cells
        self._first_action = self._first_route + roads.num_routes
        self._first_count = self._first_action + 2
        if kind == "dense":
            self.layout = Observation("dense", 2 + self._window * (roads.num_cells + 2), low=0.0, high=float(cars))
        else:
            self.layout = Observation("indices", 3 + self._window, self._first_count + self._window * cars)

    def look(self, cell: Tensor, route: Tensor, braked: Tensor) -> Tensor:
        """Observations of cars in road cells [B, N], on routes [B, N] (-1 in free slots), that braked ([B, N] bool)."""
        there = route >= 0
        seen = self._roads.near[cell]  # [B, N, W]
        count = self.counts(cell).unsqueeze(1).expand(-1, self._cars, -1).gather(2, seen)
        if self.layout.kind == "indices":
            own = [cell, route + self._first_route, braked + self._first_action]
            places = torch.arange(self._window, device=cell.device) * self._cars + self._first_count
            around = (places + count - 1).masked_fill(count == 0, -1)
            return torch.cat([torch.stack(own, 2), around], 2).masked_fill(~there.unsqueeze(2), -1)
        codes = one_hot(seen, self._roads.num_cells + 1)[..., :-1]
        window = torch.cat([codes, self._roads.outside[cell].unsqueeze(3), count.unsqueeze(3)], 3)
        own = [braked.float(), route / max(self._roads.num_routes - 1, 1)]
        return torch.cat([torch.stack(own, 2), window.flatten(2).float()], 2) * there.unsqueeze(2)

    def counts(self, cell: Tensor) -> Tensor:
        """[B, C + 1] int64, cars in each road cell; 0 for the last place, in which slots without a car are."""
        count = torch.zeros(len(cell), self._roads.num_cells + 1, dtype=torch.int64, device=cell.device)
        count.scatter_add_(1, cell, torch.ones_like(cell))
        count[:, -1] = 0
        return count

    def readings(self) -> Tensor | None:
        """[N, 3 + W, vocabulary + 1] bool, see :meth:`agentcomm.contracts.world.World.readings`; None if dense."""
        if self.layout.kind == "dense":
            return None
        shows = torch.zeros(self.layout.width, self.layout.vocabulary + 1, dtype=torch.bool)
        starts = [0, self._first_route, self._first_action, self._first_count]
        for entry, (start, end) in enumerate(pairwise(starts)):
            shows[entry, start + 1 : end + 1] = True
        for place in range(self._window):
            start = self._first_count + place * self._cars + 1
            shows[3 + place, start : start + self._cars] = True
            shows[3 + place, 0] = True
        return shows.expand(self._cars, -1, -1).to(self._roads.near.device)
