"""Attribution of harm: an auditor reads envelopes after an attack and names a culprit; how often is it right?

The auditor knows which accepted messages were harmful (forged or tampered with). It counts them by claimed sender, or
with defense ``audit`` by whom its logs hold answerable, and attributes the harm to the most frequent one. The culprit
is the true sender of most of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agentcomm.network.record import ExchangeRecord, Fate
from agentcomm.step.loop import StepRecord

HARMFUL = (Fate.TAMPERED, Fate.FORGED, Fate.REPLAYED)


@dataclass(frozen=True)
class Attribution:
    """The result of an audit of B episodes.

    Attributes:
        attributed: [B] int64, the agent that the auditor names; N for an outsider, -1 without harmful messages.
        culprit: [B] int64, the true sender of most harmful messages; N and -1 as above.
        covered: Share of the harmful messages that name their true sender, or whose logs do.
    """

    attributed: np.ndarray
    culprit: np.ndarray
    covered: float

    @property
    def accuracy(self) -> float:
        """Share of episodes with harm in which the auditor names the culprit; NaN without such episodes."""
        harmed = self.culprit >= 0
        return float((self.attributed == self.culprit)[harmed].mean()) if harmed.any() else float("nan")


class Auditor:
    """Reads the messages of B running episodes of a team of N.

    Pass :meth:`follow` to :func:`agentcomm.evaluation.play.play`, then ask for :meth:`verdict`.
    """

    def __init__(self, episodes: int, agents: int) -> None:
        # [B, N + 1 claimed or answerable senders, N + 1 origins] accepted harmful messages
        self.counts = np.zeros((episodes, agents + 1, agents + 1), np.int64)

    def follow(self, record: StepRecord) -> None:
        """Count the harmful messages of one step in running episodes."""
        for exchange in record.exchanges:
            self.read(exchange, record.running.cpu().numpy())

    def read(self, exchange: ExchangeRecord, running: np.ndarray) -> None:
        """Count the harmful messages of one exchange in the worlds that are ``running`` [B]."""
        f = exchange.fields
        harmful = f["accepted"] & np.isin(f["fate"], HARMFUL) & running[:, None, None]
        world, named = harmful.nonzero()[0], next(iter(exchange.answerable.values()), f["sender"])
        np.add.at(self.counts, (world, named[harmful], f["origin"][harmful]), 1)

    def verdict(self) -> Attribution:
        """The attribution by claimed senders, compared with the true senders."""
        claimed, real = self.counts.sum(2), self.counts.sum(1)
        harmless = self.counts.sum((1, 2)) == 0
        honest = int(np.trace(self.counts.sum(0)))
        return Attribution(
            np.where(harmless, -1, claimed.argmax(1)),
            np.where(harmless, -1, real.argmax(1)),
            honest / max(int(self.counts.sum()), 1),
        )
