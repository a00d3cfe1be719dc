"""How well scores tell two classes apart, and rates corrected for the errors of the detector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from agentcomm.base.errors import StatisticsError
from agentcomm.statistics.estimates import LEVEL, NOTHING_TO_RETAIN, Estimate, retained_fraction

Array = NDArray[np.float64]
NO_DETECTOR = "the detector's hits and false alarms cannot be told apart"


@dataclass(frozen=True)
class Roc:
    """Receiver operating characteristic: rates at each threshold, from the strictest to the loosest.

    Attributes:
        fpr: [P] false positive rate, from 0 to 1.
        tpr: [P] true positive rate, from 0 to 1.
        thresholds: [P] a score of at least this counts as positive; inf first.
    """

    fpr: Array
    tpr: Array
    thresholds: Array

    def points(self, most: int = 50) -> list[list[float]]:
        """At most ``most`` points [fpr, tpr] to draw, spread evenly along the curve; the ends are among them."""
        if len(self.fpr) <= most:
            chosen = np.arange(len(self.fpr))
        else:
            length = self.fpr + self.tpr  # grows from 0 to 2
            chosen = np.unique(np.searchsorted(length, np.linspace(0, length[-1], most)))
        return [[float(self.fpr[i]), float(self.tpr[i])] for i in chosen]


def roc(scores: ArrayLike, positive: ArrayLike) -> Roc:
    """Rates of a detector at every threshold of its score.

    Args:
        scores: [S] scores, larger for what is more likely positive.
        positive: [S] bool, the truth.

    Raises:
        StatisticsError: If a class is missing, or a score is NaN.
    """
    values, truth = _checked(scores, positive)
    order = np.argsort(-values, kind="stable")
    values, truth = values[order], truth[order]
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)  # equal scores cannot be separated
    hits, alarms = np.cumsum(truth)[last], np.cumsum(~truth)[last]
    return Roc(np.append(0.0, alarms / alarms[-1]), np.append(0.0, hits / hits[-1]), np.append(math.inf, values[last]))


def auroc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Area under the ROC: the chance that a positive scores higher than a negative, ties counting half (Mann-Whitney).

    Raises:
        StatisticsError: If a class is missing, or a score is NaN.
    """
    from scipy.stats import rankdata

    values, truth = _checked(scores, positive)
    hits = int(truth.sum())
    u = rankdata(values)[truth].sum() - hits * (hits + 1) / 2
    return float(u / (hits * (len(truth) - hits)))


def auprc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Area under precision over recall as a step function (average precision); the share of positives by chance.

    Linear interpolation would be too optimistic (Davis and Goadrich 2006).

    Raises:
        StatisticsError: If a class is missing, or a score is NaN.
    """
    _, truth = _checked(scores, positive)
    found = roc(scores, positive)
    hits, alarms = found.tpr[1:] * truth.sum(), found.fpr[1:] * (~truth).sum()
    return float(np.sum(np.diff(found.tpr) * hits / (hits + alarms)))


def tpr_at_fpr(scores: ArrayLike, positive: ArrayLike, fpr: float = 0.01) -> float:
    """Largest true positive rate of a threshold whose false positive rate is at most ``fpr``; not interpolated.

    Raises:
        StatisticsError: If a class is missing, or a score is NaN.
    """
    found = roc(scores, positive)
    return float(found.tpr[found.fpr <= fpr].max())


def corrected_rate(flagged: Mapping[int, float], tpr: Mapping[int, float], fpr: Mapping[int, float]) -> Estimate:
    """True rate of positives behind the rate that a detector flags (Rogan and Gladen 1978), over seeds.

    (flagged - fpr) / (tpr - fpr), a ratio of means over seeds with Fieller's interval, cut to 0 and 1.

    Args:
        flagged: Flagged share by seed.
        tpr: True positive rate of the detector by seed.
        fpr: False positive rate by seed, measured on separate clean seeds.

    Returns:
        The estimate; NaN with a reason if the detector does not tell positives from negatives.
    """
    found = retained_fraction(flagged, tpr, fpr)
    if not found.known:
        return replace(found, reason=NO_DETECTOR if found.reason == NOTHING_TO_RETAIN else found.reason)
    interval = None if found.interval is None else (_cut(found.interval[0]), _cut(found.interval[1]))
    return replace(found, value=_cut(found.value), interval=interval)


def corrected_count(flagged: tuple[int, int], hits: tuple[int, int], alarms: tuple[int, int]) -> Estimate:
    """The same within one seed: of independent items, by the delta method with the adjustment of Lang and Reiczigel.

    Lang and Reiczigel, "Confidence limits for prevalence of disease adjusted for estimated sensitivity and specificity"
    (Preventive Veterinary Medicine 2014), equation 6.

    Args:
        flagged: Flagged items, of all items.
        hits: Flagged items among known positives, and their number.
        alarms: Flagged items among known negatives, and their number.

    Returns:
        The estimate for one seed; NaN with a reason if the detector flags no more positives than negatives.

    Raises:
        StatisticsError: If counts are impossible.
    """
    for name, (part, total) in (("flagged", flagged), ("hits", hits), ("alarms", alarms)):
        if not 0 <= part <= total or not total:
            raise StatisticsError(f"{name}: needs a count and a larger total above 0 (got {part} of {total})")
    sensitivity, wrong = hits[0] / hits[1], alarms[0] / alarms[1]
    if sensitivity <= wrong:
        return Estimate(math.nan, None, 1, reason=NO_DETECTOR)
    value = _cut((flagged[0] / flagged[1] - wrong) / (sensitivity - wrong))
    z = float(ndtri(0.5 + LEVEL / 2))
    n, positives, negatives = flagged[1] + z * z, hits[1] + 2, alarms[1] + 2
    p, se, fp = (flagged[0] + z * z / 2) / n, (hits[0] + 1) / positives, (alarms[0] + 1) / negatives
    if se <= fp:
        return Estimate(value, None, 1, reason=NO_DETECTOR)
    rate = (p - fp) / (se - fp)
    of_hits, of_alarms = se * (1 - se) / positives, fp * (1 - fp) / negatives
    shift = 2 * z * z * (rate * of_hits - (1 - rate) * of_alarms)
    half = z * math.sqrt(p * (1 - p) / n + of_hits * rate**2 + of_alarms * (1 - rate) ** 2) / (se - fp)
    interval = (_cut(rate + shift - half), _cut(rate + shift + half))
    return Estimate(value, interval, 1, method="Lang-Reiczigel")


def _checked(scores: ArrayLike, positive: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    values, truth = np.asarray(scores, dtype=np.float64).ravel(), np.asarray(positive, dtype=np.bool_).ravel()
    if values.shape != truth.shape:
        raise StatisticsError(f"{values.size} scores, but {truth.size} labels; give a label per score")
    if np.isnan(values).any():
        raise StatisticsError("scores: some are NaN; leave them out or give them a score")
    if truth.all() or not truth.any():
        raise StatisticsError("the items are all positive or all negative: a detector cannot be measured on one class")
    return values, truth


def _cut(rate: float) -> float:
    return min(1.0, max(0.0, rate))
