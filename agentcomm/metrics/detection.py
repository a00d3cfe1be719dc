"""Detection: how well the scores and decisions of a defense tell messages that an attack touched from others.

A message is attacked if an attack forged, copied, changed or delayed it; all others are not, also those that an attack
could only read. Among these are the messages of the same episodes without the attack. Messages that were refused before
they reached a defense are not scored by it. Thresholds come from the episodes without the attack alone.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from agentcomm.contracts.metric import DetectorMetric, Group, Metric
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.scored import ScoredMessages

FAWCETT = "Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27, 2006, section 7"
DAVIS = "Davis and Goadrich, The relationship between precision-recall and ROC curves, ICML 2006"
CARLINI = "Carlini et al., Membership inference attacks from first principles, IEEE S&P 2022, section III"
CUSUM = "Page, Continuous inspection schemes, Biometrika 41, 1954"
FALSE_ALARMS = "Axelsson, The base-rate fallacy and the difficulty of intrusion detection, ACM TISSEC 3, 2000"
FALSE_POSITIVES = 0.01  # for the true positive rate at a fixed false positive rate
POINTS = 50  # of a curve


class Auroc(DetectorMetric):
    """Chance that an attacked message has a higher score than another one; ties count half."""

    better, source = "higher", FAWCETT
    group: ClassVar[Group] = "detection"

    def of(self, scored: ScoredMessages, clean: ScoredMessages | None) -> float | None:
        """The area under the ROC curve, as a Mann-Whitney statistic."""
        others, attacked = scored.counts.double()
        if not bool(others.any()) or not bool(attacked.any()):
            return None
        below = others.cumsum(0) - others
        return float((attacked * (below + others / 2)).sum() / (others.sum() * attacked.sum()))


class Auprc(DetectorMetric):
    """Average precision: precision at each threshold, weighted by the recall that it adds."""

    better, source = "higher", DAVIS
    group: ClassVar[Group] = "detection"

    def of(self, scored: ScoredMessages, clean: ScoredMessages | None) -> float | None:
        """The area under the precision-recall curve, without interpolation."""
        others, attacked = scored.counts.double().flip(1)
        if not bool(others.any()) or not bool(attacked.any()):
            return None
        found, false = attacked.cumsum(0), others.cumsum(0)
        return float((attacked * found / (found + false).clamp_min(1)).sum() / attacked.sum())


class Tpr(DetectorMetric):
    """Share of attacked messages that the defense refuses, scales or replaces."""

    better, source = "higher", FAWCETT
    group: ClassVar[Group] = "detection"

    def of(self, scored: ScoredMessages, clean: ScoredMessages | None) -> float | None:
        """The share; None without attacked messages, or if the defense decides nothing about single ones."""
        return _flagged(scored, 1)


class Fpr(DetectorMetric):
    """Share of other messages that the defense refuses, scales or replaces."""

    better, source = "lower", FAWCETT
    group: ClassVar[Group] = "detection"

    def of(self, scored: ScoredMessages, clean: ScoredMessages | None) -> float | None:
        """The share; None without such messages, or if the defense decides nothing about single ones."""
        return _flagged(scored, 0)


class TprAt1Fpr(DetectorMetric):
    """Share of attacked messages above the lowest threshold that 1% of clean messages reach at most."""

    better, source = "higher", CARLINI
    group: ClassVar[Group] = "detection"

    def of(self, scored: ScoredMessages, clean: ScoredMessages | None) -> float | None:
        """The share, at a threshold from the clean episodes; None if there are none."""
        if clean is None or not bool(scored.counts[1].any()) or not bool(clean.counts.any()):
            return None
        false, found = (_reaching(counts) for counts in (clean.counts.sum(0), scored.counts[1]))
        return float(found.masked_fill(false > FALSE_POSITIVES, 0.0).amax())


class Delay(DetectorMetric):
    """Steps from the first attacked message to the first one that the defense refuses, scales or replaces.

    Averaged over episodes in which it does so at all; :class:`Tpr` says how many messages it misses.
    """

    unit, better, source = "steps", "lower", CUSUM
    group: ClassVar[Group] = "detection"

    def of(self, scored: ScoredMessages, clean: ScoredMessages | None) -> float | None:
        """The mean delay; None if no attacked message was flagged."""
        caught = scored.first_flagged >= 0
        if not bool(caught.any()):
            return None
        return float((scored.first_flagged - scored.first_attacked)[caught].double().mean())


class Isolations(Metric):
    """Links that defenses close, per 1,000 episodes; without an attack these are false isolations."""

    unit, source = "per 1,000 episodes", FALSE_ALARMS
    group: ClassVar[Group] = "detection"

    def by_episode(self, episodes: Episodes) -> Tensor | None:
        """[B] closed links of all defenses, in thousandths; None without a defense that closes links."""
        closed = list(episodes.isolations.values())
        return 1000.0 * torch.stack(closed).sum(0) if closed else None


class FalseIsolations(Metric):
    """Closed links on which, and on whose other end, no attack acted in the episode, per 1,000 episodes."""

    unit, better, source = "per 1,000 episodes", "lower", FALSE_ALARMS
    group: ClassVar[Group] = "detection"

    def by_episode(self, episodes: Episodes) -> Tensor | None:
        """[B] links of all defenses, in thousandths; None without a defense that closes links."""
        closed = list(episodes.false_isolations.values())
        return 1000.0 * torch.stack(closed).sum(0) if closed else None


def curve(scored: ScoredMessages) -> list[list[float]]:
    """ROC curve of a defense's scores: [false, true positive rate] at up to ``POINTS`` thresholds, highest first.

    Empty without attacked messages, or without others.
    """
    if not bool(scored.counts.any(1).all()):
        return []
    rates = torch.stack([_reaching(counts) for counts in scored.counts]).flip(1)
    rates = rates[:, scored.counts.flip(1).any(0)]
    rates = torch.cat([rates.new_zeros(2, 1), rates], 1)
    if rates.shape[1] > POINTS:  # evenly along the curve, which is monotone in both rates
        length = rates.sum(0) / 2
        at = torch.searchsorted(length.contiguous(), torch.linspace(0, 1, POINTS, dtype=length.dtype).to(length.device))
        rates = rates[:, at.clamp(max=rates.shape[1] - 1).unique_consecutive()]  # type: ignore[no-untyped-call]
    return [[round(false, 6), round(true, 6)] for false, true in rates.T.tolist()]


def _flagged(scored: ScoredMessages, kind: int) -> float | None:
    """Share of flagged messages among those that are attacked (1), or not (0)."""
    total = scored.counts[kind].sum()
    if scored.flagged is None or not bool(total):
        return None
    return float(scored.flagged[kind] / total)


def _reaching(counts: Tensor) -> Tensor:
    """[LEVELS] float64, share of messages at each level or above it, given the counts [LEVELS] at each."""
    return counts.double().flip(0).cumsum(0).flip(0) / counts.sum()
