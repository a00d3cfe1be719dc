"""Corrupted messages that detectors make themselves, so that they need no labelled attacks.

The kinds are generic: noise, a plausible message of another time, a shift in a direction that all corrupted messages
of an inbox share, a turned or scaled message, shuffled entries and an empty one. None of the library's attacks is
used.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

KINDS = 6
SHARE = 0.25  # of the messages of an inbox
SIZES = (0.2, 3.0)  # in units of the spread of clean messages


def corrupt(payload: Tensor, present: Tensor, spread: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Corrupt some of the messages.

    Args:
        payload: [R, M, D] clean messages of R inboxes.
        present: [R, M] bool.
        spread: [D] standard deviation of clean messages.
        generator: For all draws.

    Returns:
        Payloads [R, M, D], and which of them are corrupted [R, M] bool.
    """
    rows, slots, width = payload.shape
    device = generator.device

    def uniform(*sizes: int) -> Tensor:
        return torch.rand(sizes, generator=generator, device=device)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=generator, device=device)

    where = present & (uniform(rows, slots) < SHARE)
    low, high = (math.log(size) for size in SIZES)
    size = (low + (high - low) * uniform(rows, slots, 1)).exp()
    shuffled = torch.randperm(rows, generator=generator, device=device)
    other = torch.where(present[shuffled].unsqueeze(-1), payload[shuffled], payload + spread * normal(*payload.shape))
    kinds = (
        payload + size * spread * normal(rows, slots, width),
        other,
        payload + size * spread * normal(rows, 1, width),
        -size * payload,
        payload[..., torch.randperm(width, generator=generator, device=device)],
        torch.zeros_like(payload),
    )
    kind = torch.randint(KINDS, (rows, slots), generator=generator, device=device)
    made = payload
    for number, changed in enumerate(kinds):
        made = torch.where((where & (kind == number)).unsqueeze(-1), changed, made)
    where = where & ((made - payload).norm(dim=-1) > 0.05 * spread.norm())  # a swap can leave a message as it was
    return made, where
