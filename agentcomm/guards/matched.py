"""Matched controls: edits of the same size as an attack's, in a random direction or on random messages.

A control spends what its attack spends, so the difference between both is due to what the attack chose: the direction
of a change, the messages to take away, the readings to show. All draws are from a generator that is used for nothing
else (``GuardBase.chance``), and have the same shape whatever is drawn for, so that worlds do not affect each other.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def direction(change: Tensor, generator: torch.Generator, low: Tensor | float, high: Tensor | float) -> Tensor:
    """A change of the same L2 norm in a uniformly random direction, within bounds of each entry.

    A direction that leaves the bounds is shortened where it does and lengthened elsewhere, until the norm is right. A
    change of all entries by as much as the bounds permit has no other direction of its norm than other signs.

    Args:
        change: [..., D], the attack's change.
        generator: Draws the direction.
        low: [..., D] or a number, at most 0: the lowest change of each entry.
        high: [..., D] or a number, at least 0: the highest change of each entry.

    Returns:
        [..., D]; zero where the change is.
    """
    drawn = torch.randn(change.shape, generator=generator, device=change.device, dtype=change.dtype)
    length = change.norm(dim=-1, keepdim=True)
    free = drawn * (length / drawn.norm(dim=-1, keepdim=True).clamp_min(1e-12))
    high, low = (torch.as_tensor(bound, dtype=change.dtype, device=change.device) for bound in (high, low))
    inside = ((free <= high) & (free >= low)).all(-1, keepdim=True)
    if bool(inside.all()):
        return torch.where(inside, free, 0.0)
    room = torch.where(drawn > 0, high, -low).expand_as(drawn)
    wide = (room.square().sum(-1, keepdim=True) >= length.square() * (1 - 1e-6)).expand_as(drawn)
    # Where these signs have too little room, each entry moves to its wider side.
    other = torch.maximum(high, -low).expand_as(drawn)
    sign = torch.where(wide, drawn.sign(), torch.where(high >= -low, 1.0, -1.0).expand_as(drawn).to(drawn.dtype))
    matched: Tensor = sign * _filled(drawn.abs(), torch.where(wide, room, other), length)
    return torch.where(inside, free, matched)


def _filled(size: Tensor, most: Tensor, length: Tensor) -> Tensor:
    """``min(s * size, most)`` [..., D] with the factor s that gives it the L2 norm ``length`` [..., 1].

    The norm grows with s, and entries reach their bounds in the order of ``most / size``. So the number of bounded
    entries is the number of these ratios at which the norm is still too small, and s follows from the others.
    """
    most = torch.minimum(most, length)  # no entry needs more
    ratio, order = (most / size.clamp_min(1e-12)).sort(-1)
    bounded = most.gather(-1, order).square().cumsum(-1)
    square = size.gather(-1, order).square()
    rest = nn.functional.pad(square.flip(-1).cumsum(-1).flip(-1)[..., 1:], (0, 1))  # of those behind
    wanted = length.square()
    reached = bounded + ratio.square() * rest
    count = (reached <= wanted).sum(-1, keepdim=True)
    at = (count - 1).clamp_min(0)
    taken = torch.where(count > 0, bounded.gather(-1, at), 0.0)
    left = torch.where(count > 0, rest.gather(-1, at), square.sum(-1, keepdim=True))
    factor = ((wanted - taken).clamp_min(0) / left.clamp_min(1e-12)).sqrt()
    at_bound = ratio.gather(-1, at) * torch.where(count > 0, 1.0, 0.0)
    return torch.minimum(size * torch.maximum(factor, at_bound), most)


def shuffled(edits: Tensor, reach: Tensor, generator: torch.Generator) -> Tensor:
    """The edits of each world, on messages chosen at random among those in reach.

    Args:
        edits: [B, ...] bool or numbers, zero out of reach.
        reach: [B, ...] bool.
        generator: Draws the order.
    """
    flat, inside = edits.flatten(1), reach.flatten(1)
    luck = torch.rand(inside.shape, generator=generator, device=inside.device)
    place = luck.masked_fill(~inside, 2.0).argsort(1)  # those in reach first, in random order
    source = (~inside).long().argsort(dim=1, stable=True)  # those in reach first, in their own order
    return torch.zeros_like(flat).scatter(1, place, flat.gather(1, source)).view_as(edits)


def readings(
    changed: Tensor, observation: Tensor, possible: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """As many changed entries of each agent's observation, chosen at random among those that have another reading.

    Args:
        changed: [B, N, O] bool, the entries that the attack changes.
        observation: [B, N, O] int64.
        possible: [N, O, V + 1] bool, as :attr:`agentcomm.contracts.views.ObservationView.readings`.
        generator: Draws the entries and the readings.

    Returns:
        The changed entries, bool [B, N, O], and readings [B, N, O] to show there, uniform among the possible others.
    """
    luck = torch.rand((*observation.shape, possible.shape[-1]), generator=generator, device=observation.device)
    luck = luck.masked_fill(~possible, -1.0).scatter(3, observation.unsqueeze(-1) + 1, -1.0)
    best, reading = luck.max(-1)
    order = torch.rand(observation.shape, generator=generator, device=observation.device)
    rank = order.masked_fill(best < 0, -1.0).argsort(-1, descending=True).argsort(-1)
    return rank < changed.sum(-1, keepdim=True), reading - 1


def other_actions(action: Tensor, changed: Tensor, number: int, luck: Tensor) -> Tensor:
    """Actions [W]: where ``changed`` [W], one of the ``number`` - 1 others, uniform by ``luck`` [W] in [0, 1)."""
    step = 1 + (luck * (number - 1)).long().clamp_max(number - 2)
    return torch.where(changed, (action + step) % number, action)
