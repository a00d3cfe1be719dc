"""Draws one world of Traffic Junction and the messages of a step as text or as an image, with numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agentcomm.contracts.world import DrawnMessage
from envs.gridworld.drawing import CELL, FATE_COLORS, LINE, Picture, arrow, aside, middle, present, stamp
from envs.traffic.roads import Cell

VERGE, ROAD, CAR, COLLIDED = (223, 228, 222), (255, 255, 255), (9, 105, 218), (207, 34, 46)


def _sharing(scene: dict[str, Any]) -> set[Cell]:
    """Cells with more than one car."""
    cells = [tuple(scene["agents"][car]) for car in present(scene)]
    return {cell for cell in cells if cells.count(cell) > 1}


def draw_text(scene: dict[str, Any], roads: Sequence[Cell], names: Sequence[str], links: Sequence[DrawnMessage]) -> str:
    """Roads as dots with cars by number, then a line per car and per link."""
    grid = [["" for _ in range(scene["size"])] for _ in range(scene["size"])]
    for row, column in roads:
        grid[row][column] = "."
    cars = present(scene)
    for car in cars:
        row, column = scene["agents"][car]
        grid[row][column] = str(car) if grid[row][column] == "." else f"{grid[row][column]},{car}"
    width = max(len(mark) for line in grid for mark in line)
    lines = [" ".join(mark.rjust(width) for mark in line).rstrip() for line in grid]
    sharing = _sharing(scene)
    lines += [
        f"{names[car]} on route {scene['routes'][car]}" + (", collided" * (tuple(scene["agents"][car]) in sharing))
        for car in cars
    ]
    return "\n".join(lines + [f"{names[link.sender]} -> {names[link.receiver]}: {link.fate}" for link in links])


def draw_picture(scene: dict[str, Any], roads: Sequence[Cell], links: Sequence[DrawnMessage]) -> Picture:
    """[H, W, 3] uint8 image: cars are discs, red where they collide; a link is an arrow in the color of its fate."""
    side, cars, sharing = scene["size"] * CELL + 1, present(scene), _sharing(scene)
    picture = np.full((side, side, 3), VERGE, dtype=np.uint8)
    for row, column in roads:
        top, left = row * CELL, column * CELL
        picture[top : top + CELL + 1, left : left + CELL + 1] = LINE
        picture[top + 1 : top + CELL, left + 1 : left + CELL] = ROAD
    places = {}
    for car in cars:
        cell = tuple(scene["agents"][car])
        places[car] = middle(*cell) + (aside(car, len(scene["agents"])) if cell in sharing else 0.0)
        stamp(picture, places[car], CELL * 0.2, COLLIDED if cell in sharing else CAR, order=2)
    for link in links:
        if link.sender in places and link.receiver in places:
            arrow(picture, places[link.sender], places[link.receiver], FATE_COLORS[link.fate])
    return picture
