"""The queue of a hub: which of a step's requests it serves.

Shapes: B worlds, Q look-ups, M cards and E empty requests of an attack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from agentcomm.guards.directory import DirectoryGuard, Permitted


class Served(NamedTuple):
    """The requests that are among the first ``capacity``.

    Attributes:
        honest: [B, Q + members] bool, look-ups and renewals of cards.
        cards: [B, M] bool of each attack, cards.
        empty: [B, E] bool of each attack, empty requests and look-ups.
    """

    honest: Tensor
    cards: list[Tensor]
    empty: list[Tensor]


def serve(
    honest: Tensor,
    done: Sequence[Permitted],
    guards: Sequence[DirectoryGuard],
    away: tuple[Tensor, Tensor],
    capacity: Tensor,
    generator: torch.Generator,
) -> Served:
    """Order all requests of a step by chance, and serve the first.

    The world's generator draws for honest requests alone, so that an attack does not change what it draws later.

    Args:
        honest: [B, Q + members] bool, look-ups and renewals of cards that are sent.
        done: What each attack sends.
        guards: The attacks' guards, whose generators draw when their requests arrive.
        away: [B, M] and [B, E] bool, cards and requests turned away before they take the hub's time, all attacks' one
            after the other.
        capacity: [B, 1] int64, requests that can be served.
        generator: The world's.
    """
    present, arrival = [honest], [torch.rand(honest.shape, generator=generator, device=honest.device)]
    cards = torch.split(away[0], [p.where.shape[1] for p in done], 1) if done else ()
    asked = torch.split(away[1], [p.empty.shape[1] for p in done], 1) if done else ()
    for guard, permitted, no_card, no_request in zip(guards, done, cards, asked, strict=True):
        sent = torch.cat([permitted.where & ~no_card, permitted.empty & ~no_request], 1)
        present.append(sent)
        arrival.append(torch.rand(sent.shape, generator=guard.base.own, device=honest.device))
        arrival[-1][:, permitted.where.shape[1] :] += permitted.yields
    sent = torch.cat(present, 1)
    rank = torch.cat(arrival, 1).masked_fill(~sent, torch.inf).argsort(dim=1, stable=True).argsort(1)
    parts = torch.split(sent & (rank < capacity), [part.shape[1] for part in present], 1)
    cards_first = [p.where.shape[1] for p in done]
    served = [part[:, :at] for part, at in zip(parts[1:], cards_first, strict=True)]
    return Served(parts[0], served, [part[:, at:] for part, at in zip(parts[1:], cards_first, strict=True)])
