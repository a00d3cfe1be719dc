"""Who is to blame? What an auditor says who reads envelopes after the harm is done, and how often that is right.

The auditor knows which accepted messages did the harm (those that were forged or tampered with). It counts them by
the sender that they claim, and blames the one with most. Who is guilty is who really sent most of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agentcomm.network.record import ExchangeRecord, Fate
from agentcomm.step.loop import StepRecord

HARMFUL = (Fate.TAMPERED, Fate.FORGED)


@dataclass(frozen=True)
class Attribution:
    """What came of an audit of B episodes.

    Attributes:
        blamed: [B] int64, the auditor's top answer; N for an outsider, -1 where nothing harmful was accepted.
        guilty: [B] int64, who really did most of it; -1 likewise.
        covered: Share of the harmful messages that name who sent them.
    """

    blamed: np.ndarray
    guilty: np.ndarray
    covered: float

    @property
    def accuracy(self) -> float:
        """How often the right one is blamed, among episodes with harm; NaN without any."""
        harmed = self.guilty >= 0
        return float((self.blamed == self.guilty)[harmed].mean()) if harmed.any() else float("nan")


class Auditor:
    """Reads the messages of B episodes of a team of N as they are played.

    Pass :meth:`follow` to :func:`agentcomm.evaluation.play.play`, then ask for :meth:`verdict`.
    """

    def __init__(self, episodes: int, agents: int) -> None:
        # [B, N + 1 claimed senders, N + 1 origins] accepted harmful messages
        self.counts = np.zeros((episodes, agents + 1, agents + 1), np.int64)

    def follow(self, record: StepRecord) -> None:
        """Count the harmful messages of one step, where the episode is still on."""
        for notes in record.exchanges:
            self.read(notes, record.running.cpu().numpy())

    def read(self, notes: ExchangeRecord, running: np.ndarray) -> None:
        """Count those of one exchange in the worlds that are ``running`` [B]."""
        f = notes.fields
        harmful = f["accepted"] & np.isin(f["fate"], HARMFUL) & running[:, None, None]
        world = harmful.nonzero()[0]
        np.add.at(self.counts, (world, f["sender"][harmful], f["origin"][harmful]), 1)

    def verdict(self) -> Attribution:
        """Whom envelopes blame, and who it was."""
        claimed, real = self.counts.sum(2), self.counts.sum(1)
        nobody = self.counts.sum((1, 2)) == 0
        honest = int(np.trace(self.counts.sum(0)))
        return Attribution(
            np.where(nobody, -1, claimed.argmax(1)),
            np.where(nobody, -1, real.argmax(1)),
            honest / max(int(self.counts.sum()), 1),
        )
