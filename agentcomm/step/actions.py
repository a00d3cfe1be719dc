"""Choosing actions from a policy's distribution."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_action_noise(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor | None:
    """Gumbel noise for sampling actions; None without a generator, for greedy actions."""
    if generator is None:
        return None
    # Gumbel-max: the largest of logit - log(exponential noise) is a sample.
    return -torch.empty(shape, device=device).exponential_(generator=generator).log_()


def choose_action(logits: Tensor, noise: Tensor | None) -> Tensor:
    """Actions [...] for logits [..., A]: the most likely ones, or samples if Gumbel noise [..., A] is given."""
    return (logits if noise is None else logits + noise).argmax(-1)
