"""How the hub ranks cards: claimed skill against what is required, plus reputation."""

from __future__ import annotations

import torch
from torch import Tensor


def score(offered: Tensor, reputation: Tensor, weight: float) -> Tensor:
    """Score of each card for each look-up.

    Args:
        offered: [.., S], what the card claims of what is required, in [0, 1].
        reputation: [.., S] in [0, 1].
        weight: What a reputation of 1 is worth, in claimed skill.

    Returns:
        [.., S].
    """
    return offered + weight * reputation


def best(scores: Tensor, eligible: Tensor, count: int, ties: Tensor) -> Tensor:
    """The first ``count`` places by score; equal ones in random order.

    Args:
        scores: [.., S].
        eligible: [.., S] bool.
        count: How many to name.
        ties: [.., S], random numbers that break ties.

    Returns:
        [.., count] int64, -1 where there are not so many.
    """
    order = ties.argsort(-1)
    shuffled = scores.masked_fill(~eligible, -torch.inf).gather(-1, order)
    ranked = order.gather(-1, shuffled.argsort(dim=-1, descending=True, stable=True))
    if ranked.shape[-1] < count:
        ranked = torch.nn.functional.pad(ranked, (0, count - ranked.shape[-1]), value=0)
    top = ranked[..., :count]
    place = torch.arange(count, device=scores.device)
    return torch.where(place < eligible.sum(-1, keepdim=True), top, -1)


def most_able(claim: Tensor, requirement: Tensor, count: Tensor) -> Tensor:
    """[B, Q, S] bool, the cards that claim most of what each look-up requires.

    Args:
        claim: [B, S, K].
        requirement: [B, Q, K].
        count: [B, Q] int64, how many for each look-up.
    """
    able = (requirement.unsqueeze(2) * claim.unsqueeze(1)).sum(3)
    rank = able.argsort(dim=2, descending=True, stable=True).argsort(2)
    return rank < count.unsqueeze(2)
