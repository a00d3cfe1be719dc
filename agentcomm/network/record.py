"""Records: the messages of an exchange one by one, for evaluation and the report's player."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from agentcomm.contracts.traffic import Traffic
from agentcomm.network.exchange import Exchange


class Fate(IntEnum):
    """The fate of a message in one exchange; ``NONE`` for an empty slot."""

    NONE = 0
    DELIVERED = 1
    DROPPED = 2
    TAMPERED = 3
    FORGED = 4
    LOST = 5
    DELAYED = 6
    REPLAYED = 7
    DUMMY = 8

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class ExchangeRecord:
    """The messages of one exchange as plain arrays, all [B, N, M].

    Attributes:
        round: Number of the exchange within the step.
        fields: ``sender`` (claimed), ``origin`` (true), ``sequence``, ``sent_at``, ``expiry``, ``hops``, ``fate`` (a
            :class:`Fate`), ``accepted``, ``size`` in bytes, and ``length`` of the payload.
        refused: bool, messages refused by each defense, or by ``gate``.
        scores: float32, suspicion scores by each defense that gives some; 0 in empty slots.
        answerable: int64, the accountable sender of each message by each defense that names one; N for an outsider.
    """

    round: int
    fields: dict[str, np.ndarray]
    refused: dict[str, np.ndarray]
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    answerable: dict[str, np.ndarray] = field(default_factory=dict)


def records_of(x: Exchange, copies: Tensor) -> list[ExchangeRecord]:
    """The records of an exchange: one, and a second one for delayed messages whose slots are occupied in the first.

    Args:
        x: The exchange, after all stages.
        copies: [M] bool, slots of attacks that inject copies of earlier messages only.
    """
    fates = _fates(x, x.arrived.present, x.put, copies)
    records = [_record(x, x.arrived, fates, x.accepted, x.refused, x.scores, x.answerable)]
    if bool(x.covered.any()):
        none = torch.zeros_like(x.sent)
        records.append(_record(x, x.departed, _fates(x, none, x.covered, copies), none, {}, {}, {}))
    return records


def _fates(x: Exchange, arrived: Tensor, put: Tensor, copies: Tensor) -> Tensor:
    """[B, N, M] int8, fates of messages, given those that arrive and those put on the wire in this exchange."""
    missing = put & ~arrived
    fate = arrived.to(torch.int8) * int(Fate.DELIVERED)
    for where, became in (
        (missing, Fate.DELAYED),
        *([] if x.dummy is None else [(missing & x.dummy, Fate.DUMMY)]),
        (missing & x.lost, Fate.LOST),
        (missing & x.effects.dropped, Fate.DROPPED),
        (arrived & x.tampered, Fate.TAMPERED),
        (arrived & x.forged, Fate.FORGED),
        (arrived & x.forged & copies, Fate.REPLAYED),
    ):
        fate = fate.masked_fill(where, int(became))
    return fate


def _record(
    x: Exchange,
    traffic: Traffic,
    fate: Tensor,
    accepted: Tensor,
    refused: dict[str, Tensor],
    scores: dict[str, Tensor],
    answerable: dict[str, Tensor],
) -> ExchangeRecord:
    fields = {name: getattr(traffic, name) for name in ("sender", "origin", "sequence", "sent_at", "expiry", "hops")}
    fields |= {"fate": fate, "accepted": accepted, "size": x.size, "length": traffic.payload().norm(dim=-1)}
    return ExchangeRecord(
        x.round,
        {name: value.cpu().numpy().copy() for name, value in fields.items()},
        {by: where.cpu().numpy().copy() for by, where in refused.items()},
        {by: score.cpu().numpy().copy() for by, score in scores.items()},
        {by: whom.cpu().numpy().copy() for by, whom in answerable.items()},
    )
