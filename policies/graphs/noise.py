"""Random numbers computed from a recorded draw, so that updates can recompute the noise of rollouts."""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.wire.keyring import mix

_STRIDE = 0x1E3779B97F4A7C15  # an odd step between counters (splitmix64: Steele, Lea and Flood, OOPSLA 2014)


def new_draws(count: int, generator: torch.Generator) -> Tensor:
    """[count] int64, non-negative random draws."""
    return torch.randint(2**62, (count,), generator=generator, device=generator.device)


def uniform(draw: Tensor, *shape: int) -> Tensor:
    """[U, *shape], uniform numbers in (0, 1) that depend only on the draw [U] and their position."""
    size = torch.Size(shape).numel()
    return uniform_at(draw, torch.arange(size, device=draw.device).view(1, *shape))


def uniform_at(draw: Tensor, place: Tensor) -> Tensor:
    """The numbers of :func:`uniform` at flat positions [1 or U, ...], without computing the others."""
    start = mix(draw).view(-1, *[1] * (place.dim() - 1))
    bits = (mix(start + (place + 1) * _STRIDE) >> 41) & 0x7FFFFF  # 23: with one more, a float32 would round to 1
    return (bits.float() + 0.5) / 2**23


def fraction_at(draw: Tensor, place: Tensor) -> Tensor:
    """Float64 numbers in [0, 1) with 53 random bits at positions [1 or U, ...]."""
    start = mix(draw).view(-1, *[1] * (place.dim() - 1))
    return ((mix(start + (place + 1) * _STRIDE) >> 11) & (2**53 - 1)).double() / 2**53


def gumbel(draw: Tensor, *shape: int) -> Tensor:
    """[U, *shape], numbers from Gumbel(0, 1)."""
    return -(-uniform(draw, *shape).log()).log()


def gumbel_at(draw: Tensor, place: Tensor) -> Tensor:
    """The numbers of :func:`gumbel` at flat positions [1 or U, ...]."""
    return -(-uniform_at(draw, place).log()).log()


def logistic(draw: Tensor, *shape: int) -> Tensor:
    """[U, *shape], standard logistic numbers; added to a logit u, they are positive with probability sigmoid(u)."""
    return uniform(draw, *shape).logit()


def normal(draw: Tensor, lane: int, *shape: int) -> Tensor:
    """[U, *shape], standard normal numbers, independent for each lane of a draw."""
    numbers: Tensor = torch.special.ndtri(uniform(mix(draw + lane * _STRIDE), *shape))
    return numbers
