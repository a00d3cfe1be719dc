"""Statistics over training seeds: estimates, percentile intervals and comparisons.

The unit of replication is the training seed. Episodes are nested in it, so every interval here resamples seeds
(cluster bootstrap) and never episodes; comparisons are paired by seed. Aggregates follow Agarwal et al., "Deep
Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS 2021, arXiv 2108.13264). Randomness comes
from the given numpy Generator, so intervals are reproducible.

A failed seed is NaN or absent. It is excluded and counted, never scored as zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t, trim_mean

Array = NDArray[np.float64]

# Two seeds have three distinct resample means, and their range contains the true median in half of all experiments:
# an interval from them would be misleading.
MIN_SEEDS = 3
LEVEL = 0.95
RESAMPLES = 4000

TOO_FEW = "fewer than 3 seeds: an interval over seeds is not meaningful"
NOTHING_TO_RETAIN = "clean and floor do not differ measurably: there is nothing to retain"


@dataclass(frozen=True)
class Estimate:
    """A number with its interval over seeds.

    Attributes:
        value: The point estimate; NaN when there is none.
        interval: Low and high end of the percentile interval; None with fewer than ``MIN_SEEDS`` seeds.
        seeds: Number of seeds in the estimate.
        excluded: Number of seeds excluded because they failed or lack their counterpart.
        reason: Why the value or the interval is missing; empty if neither is.
    """

    value: float
    interval: tuple[float, float] | None
    seeds: int
    excluded: int = 0
    reason: str = ""

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.value)

    def excludes(self, value: float) -> bool:
        """Whether there is an interval and ``value`` lies outside."""
        return self.interval is not None and not self.interval[0] <= value <= self.interval[1]


def means(samples: Array) -> Array:
    """[R, S, ...] resamples -> [R], the mean of each."""
    out: Array = samples.reshape(len(samples), -1).mean(1)
    return out


def bootstrap(
    scores: Array,
    rng: np.random.Generator,
    statistic: Callable[[Array], Array] = means,
    resamples: int = RESAMPLES,
) -> Array:
    """Cluster bootstrap: resample whole seeds with replacement.

    Args:
        scores: [S, ...], one entry per seed. All scores of a seed (clean and attacked, or all its cells) stay
            together.
        rng: Generator of the resamples.
        statistic: Takes [R, S, ...], returns [R].
        resamples: R.

    Returns:
        [R] the statistic of each resample.
    """
    scores = np.asarray(scores, dtype=np.float64)
    draws = rng.integers(len(scores), size=(resamples, len(scores)))
    return statistic(scores[draws])


def percentile_interval(samples: Array, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of bootstrap samples (Efron 1979; Agarwal et al. 2021, appendix A.2)."""
    tail = 50 * (1 - level)
    low, high = np.percentile(samples, [tail, 100 - tail])
    return float(low), float(high)


def coverage_of_range(seeds: int) -> float:
    """Chance that the median of a continuous distribution lies within the range of ``seeds`` draws: 1 - 2^(1-n).

    With three seeds the 95% percentile interval of the mean is their range, because the most extreme resample has
    probability 1/27 > 2.5%. It then covers 75%, not 95%; the report says so.
    """
    return 1 - 2.0 ** (1 - seeds)


def iqm(scores: ArrayLike) -> float:
    """Interquartile mean: mean of the middle half of all scores (Agarwal et al. 2021, section 4.3). NaN is left out."""
    values = _finite(scores)
    return float(trim_mean(values, 0.25)) if values.size else math.nan


def optimality_gap(scores: ArrayLike, target: float = 1.0) -> float:
    """Mean shortfall of scores below ``target``: mean(target - min(score, target)).

    Scores above the target do not compensate for those below (Agarwal et al. 2021, section 4.3). NaN is left out.
    """
    values = _finite(scores)
    return float(np.mean(target - np.minimum(values, target))) if values.size else math.nan


def probability_of_improvement(ours: ArrayLike, theirs: ArrayLike) -> float:
    """Chance that a random score of ``ours`` exceeds one of ``theirs``, ties counting half.

    Mann-Whitney U / (n m), 0.5 for identical samples (Agarwal et al. 2021, section 4.3). NaN is left out.
    """
    x, y = _finite(ours), _finite(theirs)
    if not x.size or not y.size:
        return math.nan
    return float((np.sign(x[:, None] - y[None, :]).mean() + 1) / 2)


def estimate(
    scores: ArrayLike,
    rng: np.random.Generator,
    statistic: Callable[[Array], Array] = means,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Estimate:
    """A statistic of seeds with its interval.

    Args:
        scores: [S, ...], one entry per seed; a seed with any NaN is excluded.
        rng: Randomness of the bootstrap.
        statistic: Takes [R, S, ...], returns [R]; the mean if none is given.
        level: Nominal coverage.
        resamples: Bootstrap resamples.
    """
    every = np.asarray(scores, dtype=np.float64)
    if not every.size:
        return Estimate(math.nan, None, 0, len(every), "no seeds")
    good = np.isfinite(every.reshape(len(every), -1)).all(1)
    kept, excluded = every[good], int((~good).sum())
    if not len(kept):
        return Estimate(math.nan, None, 0, excluded, "every seed failed")
    value = float(statistic(kept[None])[0])
    if len(kept) < MIN_SEEDS:
        return Estimate(value, None, len(kept), excluded, TOO_FEW)
    samples = bootstrap(kept, rng, statistic, resamples)
    return Estimate(value, percentile_interval(samples, level), len(kept), excluded)


def mean_by_t(scores: ArrayLike, level: float = LEVEL) -> Estimate:
    """Mean over seeds with Student's interval, mean +- t s / sqrt(n).

    Where there are three seeds, the bootstrap's interval is their range, which covers 75% (:func:`coverage_of_range`);
    this interval has the nominal coverage if scores of seeds are normally distributed.

    Args:
        scores: [S], one entry per seed; NaN is excluded.
        level: Nominal coverage.
    """
    values = _finite(scores)
    excluded = np.asarray(scores).size - values.size
    if not values.size:
        return Estimate(math.nan, None, 0, excluded, "no seeds")
    value = float(values.mean())
    if values.size < MIN_SEEDS:
        return Estimate(value, None, values.size, excluded, TOO_FEW)
    half = float(t.ppf(0.5 + level / 2, values.size - 1) * values.std(ddof=1) / math.sqrt(values.size))
    return Estimate(value, (value - half, value + half), values.size, excluded)


def iqms(samples: Array) -> Array:
    """[R, S, ...] resamples -> [R], the interquartile mean of each; a statistic for :func:`estimate`."""
    out: Array = trim_mean(samples.reshape(len(samples), -1), 0.25, axis=1)
    return out


def paired_difference(
    ours: Mapping[int, float], theirs: Mapping[int, float], rng: np.random.Generator, level: float = LEVEL
) -> Estimate:
    """Mean of ours - theirs over the seeds of both, with its interval.

    Both sides were measured on the same seeds and episodes (common random numbers), so the difference is taken
    per seed before resampling; seeds of only one side are excluded.
    """
    table = _align(ours, theirs)
    return estimate(table[:, 0] - table[:, 1], rng, level=level)


def retained_fraction(
    attacked: Mapping[int, float],
    clean: Mapping[int, float],
    floor: Mapping[int, float],
    rng: np.random.Generator,
    level: float = LEVEL,
) -> Estimate:
    """Retained fraction of a gain: (attacked - floor) / (clean - floor), 1 = unaffected, 0 = back at the floor.

    A ratio of means over seeds, not a mean of ratios, so that one seed with a small gain does not dominate. Seeds
    are resampled jointly, with their attacked, clean and floor scores. The fraction is the same for scores where less
    is better. It is negative if the attacked score is worse than the floor.

    With the undefended attack as ``floor`` and the defended one as ``attacked``, it is the share of the damage that a
    defense recovers.

    Returns:
        The estimate; NaN with a reason if clean - floor cannot be distinguished from zero.
    """
    table = _align(attacked, clean, floor)
    good = np.isfinite(table).all(1)
    kept, excluded = table[good], int((~good).sum())
    if not len(kept):
        return Estimate(math.nan, None, 0, excluded, "no seed has all three of attacked, clean and floor")
    gain = float((kept[:, 1] - kept[:, 2]).mean())
    if abs(gain) <= 1e-9 * max(1.0, float(np.abs(kept).max())):
        return Estimate(math.nan, None, len(kept), excluded, NOTHING_TO_RETAIN)
    value = float((kept[:, 0] - kept[:, 2]).mean()) / gain
    if len(kept) < MIN_SEEDS:
        return Estimate(value, None, len(kept), excluded, TOO_FEW)
    drawn = bootstrap(kept, rng, lambda x: x.mean(1))
    gains = drawn[:, 1] - drawn[:, 2]
    if float((gains * np.sign(gain) <= 0).mean()) > (1 - level) / 2:
        return Estimate(math.nan, None, len(kept), excluded, NOTHING_TO_RETAIN)
    usable = gains != 0
    fractions = (drawn[usable, 0] - drawn[usable, 2]) / gains[usable]
    return Estimate(value, percentile_interval(fractions, level), len(kept), excluded)


def _finite(scores: ArrayLike) -> Array:
    values = np.asarray(scores, dtype=np.float64).ravel()
    return values[np.isfinite(values)]


def _align(*sides: Mapping[int, float]) -> Array:
    """[S, sides] scores of all seeds of any side, NaN where a side lacks the seed."""
    seeds = sorted({seed for side in sides for seed in side})
    rows = [[side.get(seed, math.nan) for side in sides] for seed in seeds]
    return np.asarray(rows, dtype=np.float64).reshape(len(seeds), len(sides))
