"""Pictures of tasks whose agents have places: marks, lines, and messages as arrows in the colors of their fates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from agentcomm.contracts.world import DrawnMessage
from envs.gridworld.drawing import BACKGROUND, FATE_COLORS, LINE, Picture, Point, arrow, stamp

Color = tuple[int, int, int]

AGENT, TOLD, GOAL, HARMED, QUIET = (9, 105, 218), (46, 160, 67), (191, 57, 137), (207, 34, 46), (150, 150, 150)


@dataclass(frozen=True)
class Mark:
    """A filled shape.

    Attributes:
        at: Row and column of its middle, in pixels.
        radius: In pixels.
        color: Red, green and blue, 0 .. 255.
        shape: ``disc``, ``square`` or ``diamond``.
    """

    at: Point
    radius: float
    color: Color
    shape: str = "disc"


ORDERS = {"disc": 2.0, "square": np.inf, "diamond": 1.0}


def draw(
    height: int,
    width: int,
    marks: Iterable[Mark],
    places: Sequence[Point],
    links: Sequence[DrawnMessage] | None,
    segments: Iterable[tuple[Point, Point, Color]] = (),
) -> Picture:
    """[height, width, 3] uint8 image.

    Args:
        height: In pixels.
        width: In pixels.
        marks: Shapes, drawn in this order over the segments.
        places: Where each agent is, in pixels: messages are arrows between them.
        links: Messages of the step.
        segments: Straight lines, each with its ends and its color.
    """
    picture: Picture = np.full((height, width, 3), BACKGROUND, dtype=np.uint8)
    for start, end, color in segments:
        steps = int(np.abs(end - start).max()) + 2
        rows, columns = np.rint(np.linspace(start, end, steps)).astype(int).T
        picture[rows.clip(0, height - 1), columns.clip(0, width - 1)] = color
    for mark in marks:
        # Only the square around a mark is looked at, which keeps pictures of many marks fast.
        top, left = (max(int(edge - mark.radius) - 1, 0) for edge in mark.at)
        bottom, right = (int(edge + mark.radius) + 2 for edge in mark.at)
        offset = np.array([top, left], dtype=float)
        stamp(picture[top:bottom, left:right], mark.at - offset, mark.radius, mark.color, ORDERS[mark.shape])
    for link in links or ():
        arrow(picture, places[link.sender], places[link.receiver], FATE_COLORS[link.fate])
    return picture


def frame(height: int, width: int) -> list[tuple[Point, Point, Color]]:
    """The edges of a picture, as segments."""
    corners = [np.array(corner, float) for corner in ((0, 0), (0, width - 1), (height - 1, width - 1), (height - 1, 0))]
    return [(start, end, LINE) for start, end in zip(corners, corners[1:] + corners[:1], strict=True)]


def rounded(places: Tensor) -> Any:
    """Places as nested lists of numbers with four decimals, for scenes."""
    return (places.double() * 1e4).round().div(1e4).tolist()
