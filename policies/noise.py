"""Random numbers computed from a recorded draw: what a rollout sampled, an update computes again."""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.messages.identity import mix

_STRIDE = 0x1E3779B97F4A7C15  # an odd step between counters (splitmix64: Steele, Lea and Flood, OOPSLA 2014)


def new_draws(count: int, generator: torch.Generator) -> Tensor:
    """[count] int64 draws, none negative."""
    return torch.randint(2**62, (count,), generator=generator, device=generator.device)


def uniform(draw: Tensor, *shape: int) -> Tensor:
    """[U, *shape] numbers in (0, 1), which depend on the draw [U] and their place alone."""
    size = torch.Size(shape).numel()
    counter = torch.arange(1, size + 1, device=draw.device) * _STRIDE
    bits = (mix(mix(draw).unsqueeze(1) + counter) >> 40) & 0xFFFFFF
    return ((bits.float() + 0.5) / 2**24).view(len(draw), *shape)


def gumbel(draw: Tensor, *shape: int) -> Tensor:
    """[U, *shape] numbers from Gumbel(0, 1)."""
    return -(-uniform(draw, *shape).log()).log()


def logistic(draw: Tensor, *shape: int) -> Tensor:
    """[U, *shape] numbers from the standard logistic distribution: positive with logit u added in sigmoid(u) of all."""
    return uniform(draw, *shape).logit()
