"""What agents of the task market observe."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from envs.market.config import TaskMarketConfig

MOST_ONE_HOT = 256  # workers up to which a name has an entry of its own for each of them


def name_width(workers: int) -> int:
    """Entries of a name: W + 1, one of which is 1; in larger markets the number's binary digits, and one for outsiders.

    With one for each worker, what all agents see of a market would grow with the square of its size.
    """
    return workers + 1 if workers <= MOST_ONE_HOT else (workers - 1).bit_length() + 1


def _name(number: Tensor, workers: int) -> Tensor:
    """[..., W'] float32, the name of each worker 0 .. W - 1, or of outsiders, W."""
    if workers <= MOST_ONE_HOT:
        return one_hot(number, workers + 1).float()
    outside = (number == workers).unsqueeze(-1)
    digits = (number.unsqueeze(-1) >> torch.arange(name_width(workers) - 1, device=number.device)) & 1
    return torch.cat([digits.masked_fill(outside, 0), outside], -1).float()


def observations(c: TaskMarketConfig, s: Mapping[str, Tensor]) -> Tensor:
    """[B, N, O] float32 in [0, 1].

    A requester sees its task, and its cards as long as the task is in its hands; a worker sees its own skills, and the
    task it has with the cards for passing it on. In this order: role (2), needed skill (K), time left, hops left,
    whether the requester has the task, whether somebody else has it, whether the hub answered, own skills (K), then per
    card: name (:func:`name_width` entries, the last for outsiders), claim for the needed skill, reputation, own good
    and poor experience x as x / (x + 1).

    Args:
        c: Arguments of the market.
        s: State of B worlds (:class:`envs.market.task_market.TaskMarket`).
    """
    device = s["need"].device
    count, r, w = len(s["need"]), c.requesters, c.workers
    mine = s["holder"] < 0
    task = torch.cat(
        [
            one_hot(s["need"], c.skills).float(),
            (s["time"] / c.deadline).unsqueeze(2),
            (s["hops"] / max(c.hops, 1)).unsqueeze(2),
            torch.stack([mine, ~mine, (s["listed"] >= 0).any(2)], 2).float(),
        ],
        2,
    )
    some = s["shown_name"] >= 0
    name = _name(s["shown_name"].clamp(0, w), w) * some.unsqueeze(3)
    card = torch.cat([name, torch.stack([s["shown_claim"], s["shown_reputation"]], 3)], 3)
    index = s["shown_name"].clamp_min(0)
    known = torch.stack([s[n].gather(2, index).float() * some for n in ("good", "poor")], 3)
    own = torch.cat([card, known / (known + 1)], 3) * mine.view(count, r, 1, 1)
    role = torch.zeros(count, r + w, 2, device=device)
    role[:, :r, 0], role[:, r:, 1] = 1.0, 1.0
    none = torch.zeros(count, r, c.skills, device=device)
    requesters = torch.cat([task, none, own.flatten(2)], 2)
    seat = torch.where((s["holder"] >= 0) & (s["holder"] < w), s["holder"], w)
    number = torch.arange(r, device=device).expand(count, -1)
    at = torch.full((count, w + 1), r, device=device).scatter_reduce(1, seat, number, "amin")[:, :w]
    has, at = at < r, at.clamp_max(r - 1)
    theirs = torch.cat([card, torch.zeros_like(known)], 3).flatten(2)
    seen = torch.cat([task, theirs], 2) * (s["holder"] >= 0).unsqueeze(2)
    seen = seen.gather(1, at.unsqueeze(2).expand(-1, -1, seen.shape[2])) * has.unsqueeze(2)
    workers = torch.cat([seen[..., : task.shape[2]], s["skill"], seen[..., task.shape[2] :]], 2)
    return torch.cat([role, torch.cat([requesters, workers], 1)], 2)
