"""The base of detectors: defenses that score messages by what they have learned from clean episodes.

A detector is fitted on part of the clean episodes. Its threshold comes from the rest, by split conformal prediction
(Vovk et al., *Algorithmic learning in a random world*, 2005; Papadopoulos et al., ECML 2002): of clean messages that
are exchangeable with those of calibration, at most the share ``false_positives`` is flagged, on average over
calibrations. Copies of one broadcast, and messages of one episode, are not independent, so single calibrations vary
more than the number of messages suggests. The bound says nothing about what an attack changes in later, honest
messages.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.base.errors import RequirementError
from agentcomm.base.masks import finite, zero_unless
from agentcomm.contracts.defense import Defense, DefenseConfig, IdentityConfig
from agentcomm.contracts.examples import Examples
from agentcomm.contracts.verdicts import Delivered, Verdicts

TOP = 6e4  # score of payloads that are not finite; no other score is as large
LEAST = 32  # messages to be fitted on, and to set the threshold by
FITTED = 0.5  # share of the episodes that a detector is fitted on


class DetectorConfig(DefenseConfig):
    """Arguments that every detector has."""

    false_positives: float = Field(
        0.01, gt=0, lt=1, description="share of clean messages that it may flag; sets its threshold"
    )


class Messages(NamedTuple):
    """The messages of some exchanges, whose payloads are finite.

    Attributes:
        payload: [B, N, M, D], 0 where there is no message.
        present: [B, N, M] bool.
        sender: [B, N, M] int64, who each claims to come from; N for outsiders.
        own: [B, N, D], what the receiver itself says.
        round: [B] int64, exchange within the step; all turns of agents that act one after the other count as one.
        step: [B] int64.
    """

    payload: Tensor
    present: Tensor
    sender: Tensor
    own: Tensor
    round: Tensor
    step: Tensor

    def rows(self, rows: Tensor) -> Messages:
        """The exchanges ``rows``."""
        return Messages(*(part[rows] for part in self))


K_co = TypeVar("K_co", bound=DetectorConfig, default=DetectorConfig, covariant=True)


class Detector(Defense[K_co]):
    """Refuses messages with a score above a threshold. Implement ``fit`` and ``score``.

    Attributes:
        threshold: Largest score that is not flagged.
        limit: Payloads are clamped to this absolute value before they are scored; 0 for a team without messages.
        rounds: Exchanges per step in the clean episodes.
    """

    order = "content"
    lossless = False
    in_training: ClassVar[bool] = False
    reads_originals: ClassVar[bool] = True  # it has learned from messages that no defense had changed
    calibration = 256
    threshold: float = TOP / 2
    limit: float = 0.0
    rounds: int = 1

    @abstractmethod
    def fit(self, messages: Messages, examples: Examples) -> None:
        """Learn from clean messages, of which there are some.

        Args:
            messages: The messages of ``examples``.
            examples: Where they come from, with a generator for all draws.
        """

    @abstractmethod
    def score(self, messages: Messages, memory: dict[str, Tensor]) -> Tensor:
        """How suspicious each message is: [B, N, M] float32; of no importance where there is none.

        Args:
            messages: The messages of one exchange.
            memory: The detector's memory.
        """

    def score_examples(self, messages: Messages, examples: Examples) -> Tensor:
        """Scores [S, N, k] of clean messages, for the threshold. Override it for a detector with a memory."""
        return self.score(messages, {})

    def calibrate(self, examples: Examples) -> None:
        """Fit the detector on some of the episodes, and set its threshold by the others."""
        if not bool(examples.present.any()):
            return  # a team without messages
        parts = examples.split(FITTED)
        count = min(int(part.present.sum()) for part in parts)
        if count < LEAST:
            raise RequirementError(
                f"it learns from {self.calibration} clean episodes, in which too few messages arrive: {count} to fit it"
                f" or to set its threshold, and {LEAST} are needed"
            )
        self.limit = 10.0 * float(examples.payload.abs().amax().clamp_min(1e-3))
        self.rounds = int(examples.round.max()) + 1
        fitted, held = (self._seen(part) for part in parts)
        self.fit(fitted, parts[0])
        with torch.no_grad():
            scores = bounded(self.score_examples(held, parts[1]))[held.present]
        self.threshold = conformal_threshold(scores, self.config.false_positives)

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Score all messages, and refuse those above the threshold."""
        score, flagged = self.judged(delivered, memory)
        return Verdicts(refuse=flagged, score=score)

    def judged(self, delivered: Delivered, memory: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Scores [B, N, M], and which messages are flagged [B, N, M] bool."""
        return self.flagged(delivered, self.score(self.messages(delivered), memory) if self.able(delivered) else None)

    def able(self, delivered: Delivered) -> bool:
        """Whether there can be something to judge: teams without messages leave nothing to learn from."""
        return self.limit > 0.0 and delivered.present.shape[-1] > 0

    def flagged(self, delivered: Delivered, score: Tensor | None) -> tuple[Tensor, Tensor]:
        """Finite scores, and which messages are flagged, as in :meth:`judged`.

        Args:
            delivered: The messages.
            score: [B, N, M] as from :meth:`score`; None to flag nothing.
        """
        if score is None:
            nothing = torch.zeros(delivered.present.shape, device=delivered.present.device)
            return nothing, nothing.bool()
        score = bounded(score).masked_fill(~finite(delivered.payload), TOP)
        score = score.masked_fill(~delivered.present, 0.0)
        return score, (score > self.threshold) & delivered.present

    def messages(self, delivered: Delivered) -> Messages:
        """What a detector looks at."""
        return self._finite(
            delivered.payload,
            delivered.present,
            delivered.sender,
            delivered.own,
            torch.full_like(delivered.step, min(delivered.round, self.rounds - 1)),
            delivered.step,
        )

    def _seen(self, examples: Examples) -> Messages:
        e = examples
        return self._finite(e.payload, e.present, e.sender, e.own, e.round, e.step)

    def weights(self, score: Tensor, flagged: Tensor, sharpness: float) -> Tensor:
        """[B, N, M] float32 in (0, 1], weights of messages that fall with the score above the threshold.

        Args:
            score: [B, N, M].
            flagged: [B, N, M] bool; others have the weight 1.
            sharpness: How fast weights fall.
        """
        fallen = 2 * torch.sigmoid(sharpness * (self.threshold - score).clamp(-80 / sharpness, 0))
        return torch.where(flagged, fallen, 1.0)

    def _finite(
        self, payload: Tensor, present: Tensor, sender: Tensor, own: Tensor, round_: Tensor, step: Tensor
    ) -> Messages:
        clean = payload.nan_to_num(0.0, self.limit, -self.limit).clamp(-self.limit, self.limit)
        clean = zero_unless(present, clean)
        sender = sender.clamp(0, self.team_shape.num_agents)
        return Messages(clean, present, sender, own.clamp(-self.limit, self.limit), round_, step)


class SenderConfig(DetectorConfig, IdentityConfig):
    """Arguments that every detector has that goes by claimed sender."""


S_co = TypeVar("S_co", bound=SenderConfig, default=SenderConfig, covariant=True)


class SenderDetector(Detector[S_co]):
    """A detector that knows what each agent usually says, and so goes by claimed sender."""

    needs_identity: ClassVar[bool] = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Without authentication."""
        return {"": {"unauthenticated": True}}


def bounded(score: Tensor) -> Tensor:
    """Scores as finite float32 below ``TOP``."""
    return score.float().nan_to_num(TOP / 2, TOP / 2, -TOP / 2).clamp(-TOP / 2, TOP / 2)


def conformal_threshold(scores: Tensor, false_positives: float) -> float:
    """The smallest score that at most a share of exchangeable clean messages exceeds.

    Args:
        scores: [n] of held-out clean messages.
        false_positives: The share. With fewer than 1 / share - 1 scores, nothing but broken payloads exceeds it.
    """
    rank = math.ceil((len(scores) + 1) * (1 - false_positives))
    if rank > len(scores):
        return TOP / 2
    slack = 1e-3 * float(scores.std()) + 1e-6  # agents often say the very same, and scores are rounded
    return float(scores.sort().values[rank - 1]) + slack
