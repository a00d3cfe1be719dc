"""Draws a grid world and the messages of one step as text or as an image, with numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from agentcomm.contracts.world import DrawnMessage

Picture = npt.NDArray[np.uint8]
Point = npt.NDArray[np.float64]

CELL = 48  # pixels per cell
FATE_COLORS = {
    "delivered": (46, 160, 67),
    "dropped": (150, 150, 150),
    "forged": (207, 34, 46),
    "tampered": (219, 118, 18),
    "refused": (110, 64, 201),
}
BACKGROUND, LINE, SEEN = (255, 255, 255), (208, 215, 222), (234, 243, 255)
PREY_COLOR, SIGHTED_COLOR, BLIND_COLOR = (191, 57, 137), (9, 105, 218), (36, 41, 47)


def present(scene: dict[str, Any]) -> list[int]:
    """Agents that have not left."""
    return [agent for agent in range(len(scene["agents"])) if scene.get("alive") is None or scene["alive"][agent]]


def draw_text(scene: dict[str, Any], names: Sequence[str], links: Sequence[DrawnMessage]) -> str:
    """The grid with agents by number and the prey as ``*``, then a legend, then one line per link."""
    size = scene["size"]
    grid = [["" for _ in range(size)] for _ in range(size)]
    for row, column in scene["prey"]:
        grid[row][column] += "*"
    # Numbers of two digits that share a cell are separated.
    separator = "," if len(names) > 10 else ""
    for agent in present(scene):
        row, column = scene["agents"][agent]
        grid[row][column] += (separator if grid[row][column] else "") + str(agent)
    width = max(len(mark) for line in grid for mark in line)
    lines = [" ".join((mark or ".").rjust(width) for mark in line) for line in grid]
    lines.append("* prey  " + "  ".join(f"{agent} {name}" for agent, name in enumerate(names)))
    lines += [f"{names[link.sender]} -> {names[link.receiver]}: {link.fate}" for link in links]
    return "\n".join(lines)


def draw_picture(scene: dict[str, Any], blind: Sequence[bool], links: Sequence[DrawnMessage]) -> Picture:
    """[H, W, 3] uint8 image.

    Cells in any agent's window are tinted; the prey is a diamond, sighted agents are discs, blind ones squares; a link
    is an arrow from its sender in the color of its fate (``FATE_COLORS``).
    """
    size = scene["size"]
    picture = np.full((size * CELL + 1, size * CELL + 1, 3), BACKGROUND, dtype=np.uint8)
    for agent in present(scene):
        (row, column), vision = scene["agents"][agent], scene["vision"][agent]
        if vision is not None:
            top, left = max(row - vision, 0) * CELL, max(column - vision, 0) * CELL
            picture[top : (row + vision + 1) * CELL, left : (column + vision + 1) * CELL] = SEEN
    picture[::CELL] = picture[:, ::CELL] = LINE
    for row, column in scene["prey"]:
        stamp(picture, middle(row, column), CELL * 0.42, PREY_COLOR, order=1)
    places = [middle(row, column) + aside(agent, len(blind)) for agent, (row, column) in enumerate(scene["agents"])]
    for agent in present(scene):
        color = BLIND_COLOR if blind[agent] else SIGHTED_COLOR
        stamp(picture, places[agent], CELL * 0.15, color, order=np.inf if blind[agent] else 2)
    for link in links:
        arrow(picture, places[link.sender], places[link.receiver], FATE_COLORS[link.fate])
    return picture


def middle(row: int, column: int) -> Point:
    """Pixel in the middle of a cell."""
    return np.array([(row + 0.5) * CELL, (column + 0.5) * CELL])


def aside(agent: int, count: int) -> Point:
    """Offset of an agent within its cell, so that agents that share a cell stay visible."""
    angle = 2 * np.pi * agent / count
    return CELL * 0.27 * np.array([np.sin(angle), np.cos(angle)])


def stamp(picture: Picture, center: Point, radius: float, color: tuple[int, int, int], order: float) -> None:
    """Fill pixels within ``radius`` of ``center``; by the norm's order a diamond (1), disc (2) or square (inf)."""
    rows, columns = np.indices(picture.shape[:2])
    offset = np.stack([rows - center[0], columns - center[1]], axis=-1)
    picture[np.linalg.norm(offset, ord=order, axis=-1) <= radius] = color


def _line(picture: Picture, start: Point, end: Point, color: tuple[int, int, int]) -> None:
    steps = int(np.abs(end - start).max()) + 2
    points = np.rint(np.linspace(start, end, steps)).astype(int)
    rows, columns = points.clip(0, np.array(picture.shape[:2]) - 2).T
    for down, right in ((0, 0), (0, 1), (1, 0)):
        picture[rows + down, columns + right] = color


def arrow(picture: Picture, start: Point, end: Point, color: tuple[int, int, int]) -> None:
    """Draw an arrow that ends short of the disc around its end."""
    along = (end - start) / max(float(np.linalg.norm(end - start)), 1.0)
    across = np.array([-along[1], along[0]])
    # Moved a little to one side, so that messages in both directions stay visible.
    start, end = start + 2 * across, end + 2 * across - along * CELL * 0.15
    _line(picture, start, end, color)
    for side in (-1, 1):
        _line(picture, end, end - 8 * along + side * 5 * across, color)
