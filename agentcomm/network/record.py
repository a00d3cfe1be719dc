"""Records: the messages of an exchange one by one, for evaluation, drawings and the page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from agentcomm.messages.traffic import Traffic
from agentcomm.network.exchange import Exchange


class Fate(IntEnum):
    """What became of a message in one exchange; ``NONE`` where there was none."""

    NONE = 0
    DELIVERED = 1
    DROPPED = 2
    TAMPERED = 3
    FORGED = 4
    LOST = 5
    DELAYED = 6

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class ExchangeRecord:
    """The messages of one exchange as plain arrays, all [B, N, M].

    Attributes:
        round: Number of the exchange within the step.
        fields: ``sender`` (claimed), ``origin`` (true), ``sequence``, ``sent_at``, ``expiry``, ``hops``, ``fate`` (a
            :class:`Fate`), ``accepted``, ``size`` in bytes, and ``length`` of the payload.
        refused: bool, by the defense that refused the message, or ``gate``.
    """

    round: int
    fields: dict[str, np.ndarray]
    refused: dict[str, np.ndarray]


def records_of(x: Exchange) -> list[ExchangeRecord]:
    """What happened in an exchange: one record, and a second one for messages whose slots are taken in the first."""
    accepted, none = x.traffic.present, torch.zeros_like(x.sent)
    out = [_record(x, x.arrived, x.put, accepted, x.effects.dropped, x.lost, x.forged, x.tampered, x.refused)]
    if bool(x.covered.any()):
        departed = replace(x.departed, present=none)
        dropped, lost = x.effects.dropped & x.covered, x.lost & x.covered
        out.append(_record(x, departed, x.covered, none, dropped, lost, none, none, {}))
    return out


def _record(
    x: Exchange,
    traffic: Traffic,
    put: Tensor,
    accepted: Tensor,
    dropped: Tensor,
    lost: Tensor,
    forged: Tensor,
    tampered: Tensor,
    refused: dict[str, Tensor],
) -> ExchangeRecord:
    arrived = traffic.present
    fate = arrived.to(torch.int8) * int(Fate.DELIVERED)
    for where, became in (
        (put & ~arrived & ~dropped & ~lost, Fate.DELAYED),
        (lost & ~arrived, Fate.LOST),
        (dropped & ~arrived, Fate.DROPPED),
        (tampered & arrived, Fate.TAMPERED),
        (forged & arrived, Fate.FORGED),
    ):
        fate = fate.masked_fill(where, int(became))
    fields = {name: getattr(traffic, name) for name in ("sender", "origin", "sequence", "sent_at", "expiry", "hops")}
    fields |= {"fate": fate, "accepted": accepted, "size": x.size, "length": traffic.payload().norm(dim=-1)}
    return ExchangeRecord(
        x.round,
        {name: value.cpu().numpy().copy() for name, value in fields.items()},
        {by: where.cpu().numpy().copy() for by, where in refused.items()},
    )
