"""Roads and routes of Traffic Junction: IC3Net's three maps (Singh et al., ICLR 2019, section 4.2, and released code).

Traffic keeps to the right. A map is a set of one-way lanes, each a whole row or column of the grid; cars follow a lane
and may change into a crossing one at a junction.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor

Difficulty = Literal["easy", "medium", "hard"]
Cell = tuple[int, int]  # row and column
Heading = tuple[int, int]  # change of row and column in a step

UP, RIGHT, DOWN, LEFT = (-1, 0), (0, 1), (1, 0), (0, -1)
STRAIGHT, TURN_RIGHT, TURN_LEFT = range(3)  # the order in which an arrival's routes are numbered


@dataclass(frozen=True)
class Map:
    """One difficulty.

    Attributes:
        size: Rows and columns of the grid.
        rows: Heading of each row that is a lane.
        columns: Heading of each column that is a lane.
        arrivals: Cells in which cars arrive, in the order in which they are tried in a step.
        turns: Choices at each junction that a route may turn at; routes go straight on at later ones.
        cars: Slots for cars, N.
        max_steps: Length T of an episode.
        rate: Chance per step and arrival that a car arrives.
    """

    size: int
    rows: dict[int, Heading]
    columns: dict[int, Heading]
    arrivals: tuple[Cell, ...]
    turns: tuple[tuple[int, ...], ...]
    cars: int
    max_steps: int
    rate: float


_ANY = (STRAIGHT, TURN_RIGHT, TURN_LEFT)
MAPS: dict[Difficulty, Map] = {
    "easy": Map(7, {3: RIGHT}, {3: DOWN}, ((0, 3), (3, 0)), (), cars=5, max_steps=20, rate=0.3),
    "medium": Map(
        14,
        {6: LEFT, 7: RIGHT},
        {6: DOWN, 7: UP},
        ((0, 6), (13, 7), (7, 0), (6, 13)),
        (_ANY,),
        cars=10,
        max_steps=40,
        rate=0.2,
    ),
    "hard": Map(
        18,
        {4: LEFT, 5: RIGHT, 12: LEFT, 13: RIGHT},
        {4: DOWN, 5: UP, 12: DOWN, 13: UP},
        ((0, 4), (0, 12), (5, 0), (13, 0), (17, 5), (17, 13), (4, 17), (12, 17)),
        (_ANY, _ANY),
        cars=20,
        max_steps=80,
        rate=0.05,
    ),
}


def _turned(heading: Heading, turn: int) -> Heading:
    row, column = heading
    return {STRAIGHT: heading, TURN_RIGHT: (column, -row), TURN_LEFT: (-column, row)}[turn]


def _route(plan: Map, start: Cell, turns: tuple[int, ...]) -> tuple[Cell, ...]:
    """Cells of a route from an arrival to the edge of the grid, with the given turns at the first junctions.

    A car turns where the crossing lane has the heading it wants: in right-hand traffic in the first cell of a junction
    to the right, and in the second to the left.
    """
    (row, column), left = start, list(turns)
    lane = plan.columns.get(column) if row in (0, plan.size - 1) else plan.rows.get(row)
    assert lane is not None, f"{start} is not on a lane"
    heading = wanted = lane
    cells, in_junction = [], False
    while 0 <= row < plan.size and 0 <= column < plan.size:
        cells.append((row, column))
        crossing = row in plan.rows and column in plan.columns
        if crossing and not in_junction:
            wanted = _turned(heading, left.pop(0) if left else STRAIGHT)
        in_junction = crossing
        if crossing and wanted in (plan.rows[row], plan.columns[column]):
            heading = wanted
        row, column = row + heading[0], column + heading[1]
    return tuple(cells)


def routes_of(plan: Map) -> list[list[tuple[Cell, ...]]]:
    """The distinct routes from each arrival, in the order of their turns."""
    return [
        list(dict.fromkeys(_route(plan, start, turns) for turns in product(*plan.turns))) for start in plan.arrivals
    ]


class Roads:
    """A map as tables on a device; road cells are numbered row by row, 0 .. C - 1, and C stands for no cell.

    Attributes:
        plan: The map.
        cells: Row and column of each of the C road cells.
        options: Routes per arrival; route ids count through the arrivals in order.
        length: [R] int64, cells of each route.
        on_route: [R, longest + 1] int64, road cell at each place of each route, C behind its end.
        near: [C + 1, W] int64, road cells in the window of each road cell, row by row; C where there is no road.
        outside: [C + 1, W] bool, window cells that are not road; none for the last row.
    """

    def __init__(self, difficulty: Difficulty, vision: int, device: torch.device) -> None:
        self.plan = plan = MAPS[difficulty]
        size = plan.size
        self.cells = [(r, c) for r in range(size) for c in range(size) if r in plan.rows or c in plan.columns]
        number = {cell: index for index, cell in enumerate(self.cells)}
        by_arrival = routes_of(plan)
        self.options = len(by_arrival[0])
        routes = [route for some in by_arrival for route in some]
        none, longest = len(self.cells), max(map(len, routes))
        padded = [[number[cell] for cell in route] + [none] * (longest + 1 - len(route)) for route in routes]
        reach = range(-vision, vision + 1)
        near = [[number.get((r + i, c + j), none) for i in reach for j in reach] for r, c in self.cells]
        near.append([none] * len(reach) ** 2)
        self.length = torch.tensor([len(route) for route in routes], device=device)
        self.on_route = torch.tensor(padded, device=device)
        self.near = torch.tensor(near, device=device)
        self.outside = self.near == none
        self.outside[-1] = False

    @property
    def num_cells(self) -> int:
        """C."""
        return len(self.cells)

    @property
    def num_routes(self) -> int:
        """R."""
        return len(self.length)

    def where(self, route: Tensor, place: Tensor) -> Tensor:
        """Road cells [...] at places [...] of routes [...]; C where the route is -1."""
        cell = self.on_route[route.clamp_min(0), place]
        return cell.masked_fill(route < 0, self.num_cells)
