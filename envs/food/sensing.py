"""Range sensors of Food Collector: what six rays of a disc meet first, and places outside of the obstacle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RAYS, REACH = 6, 0.2
CENTER, OBSTACLE = 0.5, 0.2  # of the round obstacle: its place in both directions, and its radius
TRIES = 8  # places drawn for one that must lie outside of the obstacle


def rays(device: torch.device) -> Tensor:
    """[R, 2], directions of the sensors."""
    angle = torch.arange(RAYS, device=device) * (2 * math.pi / RAYS)
    return torch.stack([angle.cos(), angle.sin()], 1)


def to_discs(offset: Tensor, radius: float, directions: Tensor) -> Tensor:
    """[..., R], how close a disc is to each sensor: 1 where it is, 0 at the end of its reach and if it meets none.

    A sensor meets a disc where it comes closest to its middle.

    Args:
        offset: [..., 2], from the sensor to the middle of the disc.
        radius: Of the disc.
        directions: [R, 2].
    """
    # Entry by entry, because reductions over two numbers are slow.
    x, y = offset.unsqueeze(-2).unbind(-1)
    along = x * directions[:, 0] + y * directions[:, 1]
    across = x * x + y * y - along * along
    meets = (along >= 0) & (along <= REACH) & (across <= radius**2)
    return torch.where(meets, 1 - along / REACH, 0.0)


def length(offset: Tensor) -> Tensor:
    """[...], length of vectors [..., 2]; faster than a norm over two numbers."""
    return torch.hypot(offset[..., 0], offset[..., 1])


def to_walls(place: Tensor, directions: Tensor) -> Tensor:
    """[..., R], how close a wall of the unit square is to sensors at a place [..., 2], as in :func:`to_discs`."""
    room = torch.where(directions > 0, 1 - place.unsqueeze(-2), place.unsqueeze(-2))
    distance = (room / directions.abs().clamp_min(1e-6)).amin(-1)
    return (1 - distance / REACH).clamp(0.0, 1.0)


def outside(luck: Tensor, margin: float) -> Tensor:
    """[..., 2], uniform places in the unit square whose distance from obstacle and walls is at least a margin.

    Args:
        luck: [..., TRIES, 2], uniform in 0 .. 1. If all tries fail, once in a million times, the first is pushed out.
        margin: Radius of what is to be placed.
    """
    tries = margin + (1 - 2 * margin) * luck
    free = length(tries - CENTER) >= OBSTACLE + margin
    first = free.float().argmax(-1)  # the first if none is free
    place = tries.gather(-2, first[..., None, None].expand(*first.shape, 1, 2)).squeeze(-2)
    return pushed_out(place, margin)


def pushed_out(place: Tensor, margin: float) -> Tensor:
    """[..., 2], places kept within the walls, and moved straight out of the obstacle."""
    place = place.clamp(margin, 1 - margin)
    offset = place - CENTER
    distance = length(offset).unsqueeze(-1)
    aside = torch.zeros_like(offset)
    aside[..., 0] = 1.0
    direction = torch.where(distance > 1e-6, offset / distance.clamp_min(1e-6), aside)
    least = OBSTACLE + margin
    return torch.where(distance < least, CENTER + direction * least, place)
