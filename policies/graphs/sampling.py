"""Senders drawn without replacement, with one random number for each that is kept.

Gumbel top-k draws a number for every possible edge. The same distribution (Plackett-Luce) results from drawing the
senders one after the other, each in proportion to its weight among those that are left: a number in 0 .. the weight
left is looked up in the cumulative weights, which all draws share. Weights are integers, so that their sums are exact
and no sender is drawn twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from policies.graphs.noise import fraction_at

UNIT = 2.0**40  # the weight of the most likely sender; sums over a million senders still fit into 64 bits


def cumulative(logits: Tensor) -> Tensor:
    """Cumulative weights [R, N] int64 of R receivers' senders.

    Args:
        logits: [R, N], minus infinity for excluded senders, of weight 0; all others weigh at least 1.
    """
    weight = ((logits - logits.amax(-1, keepdim=True)).exp().double() * UNIT).round_().long()
    return weight.clamp_min_(1).masked_fill_(logits == float("-inf"), 0).cumsum(-1)


def draw_senders(weights: Tensor, draw: Tensor, receiver: Tensor, count: int) -> Tensor:
    """[U, R, count] int64, the senders of R receivers, in the order in which they were drawn.

    Args:
        weights: [R, N] int64, cumulative weights; at least ``count`` senders of a receiver have some.
        draw: [U] int64.
        receiver: [R] int64, the receivers' numbers in the team.
        count: Senders per receiver.
    """
    place = receiver.view(-1, 1) * count + torch.arange(count, device=draw.device)
    number = fraction_at(draw, place.unsqueeze(0)).transpose(0, 1)  # [R, U, count]
    left = weights[:, -1:].expand(-1, len(draw))
    chosen = torch.zeros(*left.shape, 0, dtype=torch.int64, device=draw.device)
    start, size = chosen, chosen  # where the weights of those drawn begin, ascending, and how large they are
    for turn in number.unbind(-1):
        at = (turn * left).long().minimum(left - 1)
        # What was drawn is gone: the weights behind it have moved up by its size.
        gone = size.cumsum(-1) - size
        at = at + (size * (start - gone <= at.unsqueeze(-1))).sum(-1)
        sender = torch.searchsorted(weights, at.contiguous(), right=True)
        end = weights.gather(1, sender)
        begins = torch.where(sender > 0, weights.gather(1, (sender - 1).clamp_min(0)), 0)
        chosen = torch.cat([chosen, sender.unsqueeze(-1)], -1)
        start, order = torch.cat([start, begins.unsqueeze(-1)], -1).sort(-1)
        size = torch.cat([size, (end - begins).unsqueeze(-1)], -1).gather(-1, order)
        left = left - (end - begins)
    return chosen.transpose(0, 1)
