"""Noise that some policies add to their messages in training (:mod:`policies.parts.bottleneck`)."""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.contracts.policy import CommPolicy


def draw_message_noise(policy: CommPolicy, step: Tensor, generator: torch.Generator | None) -> Tensor:
    """[B] int64 seeds of one step's noise; [0] for a policy without noise, or without a generator.

    Args:
        policy: The policy.
        step: [B] int64, one per world.
        generator: Generator of the seeds; None for greedy messages.
    """
    if policy.message_noise is None or generator is None:
        return step[:0]
    return torch.randint(2**62, step.shape, generator=generator, device=step.device)


def add_message_noise(policy: CommPolicy, said: Tensor, round_: int, draw: Tensor | None = None) -> Tensor:
    """Payloads [B, N, D] of a round, with noise if the policy adds any.

    Args:
        policy: The policy.
        said: [B, N, D] payloads without noise.
        round_: The round.
        draw: [B] seeds from :func:`draw_message_noise`; None, or [0], for greedy messages.
    """
    if policy.message_noise is None:
        return said
    payload: Tensor = policy.message_noise(said, draw if draw is not None and len(draw) else None, round_)[0]
    return payload
