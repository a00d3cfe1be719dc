"""Ledger: counts of messages by their fate, per world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.state import State

COUNTS = (
    "sent",  # sent by agents of the team, counted before attacks and channels
    "dropped",  # removed from the wire by an attack
    "delayed",  # delayed by an attack
    "lost",  # lost by a channel
    "late",  # overtaken by a newer message, expired in transit, or in transit when the episode ended
    "tampered",  # payload or header changed by an attack, but delivered
    "forged",  # written by an attack and put on the wire
    "replayed",  # copies of earlier messages, put on the wire by an attack that cannot write messages
    "fragments",  # fragments that an attack put on the wire
    "injected_bytes",  # bytes of the messages that attacks put on the wire
    "refused",  # refused by a defense or a closed gate
    "accepted",  # reached the receiver's policy
    "accepted_forged",  # accepted messages that an attack wrote
    "accepted_replayed",  # accepted copies
    "accepted_tampered",  # accepted messages that an attack changed
)


class Ledger(State):
    """Counters [B] per entry of ``COUNTS``, bytes on the wire, refusals by defense, and latency.

    ``steps`` and ``seconds`` [B] are the latency summed over the messages that arrived.
    """

    keeps = ("messages", "bytes", "steps", "seconds", "refused_by")

    def __init__(self, num_worlds: int, device: torch.device) -> None:
        self.messages = torch.zeros(len(COUNTS), num_worlds, dtype=torch.int64, device=device)
        self.bytes = torch.zeros(num_worlds, dtype=torch.int64, device=device)
        self.steps = torch.zeros_like(self.bytes)
        self.seconds = torch.zeros(num_worlds, dtype=torch.float64, device=device)
        self.refused_by: dict[str, Tensor] = {}

    def count(self, **events: Tensor) -> None:
        """Add events, each a [B, N, M] tensor of bool or counts, under their names in ``COUNTS``."""
        for name, where in events.items():
            self.messages[COUNTS.index(name)] += where.sum((1, 2))

    def refuse(self, defense: str, where: Tensor) -> None:
        """Count messages [B, N, M] that ``defense`` refused."""
        total = where.sum((1, 2))
        self.messages[COUNTS.index("refused")] += total
        known = self.refused_by.get(defense)
        self.refused_by[defense] = total if known is None else known + total

    def carry(self, where: Tensor, size: Tensor) -> None:
        """Count the bytes ``size`` [B, N, M] of messages [B, N, M]."""
        self.bytes += (size * where).sum((1, 2))

    def arrive(self, where: Tensor, steps: Tensor, seconds: Tensor) -> None:
        """Add the latency of messages [B, N, M]."""
        self.steps += (steps * where).sum((1, 2))
        self.seconds += (seconds * where).sum((1, 2))

    def cut_off(self, worlds: Tensor, waiting: Tensor) -> None:
        """Count the messages in transit ([W]) at the end of the episodes of ``worlds`` ([W] indices) as late."""
        self.messages[COUNTS.index("late"), worlds] += waiting

    def __getitem__(self, name: str) -> Tensor:
        """[B] counter of that name."""
        return self.messages[COUNTS.index(name)]

    def clear(self) -> None:
        """Set all counters to zero."""
        self.messages.zero_()
        self.bytes.zero_()
        self.steps.zero_()
        self.seconds.zero_()
        self.refused_by.clear()

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Restore counters that :meth:`snapshot` returned, including refusals by defenses not seen here before."""
        for name in saved["refused_by"]:
            self.refused_by.setdefault(name, torch.zeros_like(self.bytes))
        super().restore(saved)
