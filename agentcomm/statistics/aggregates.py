"""Aggregates over seeds and tasks.

Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS 2021, arXiv 2108.13264).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from agentcomm.base.errors import StatisticsError
from agentcomm.statistics.estimates import EQUAL, LEVEL, MIN_SEEDS, SHARE, TOO_FEW, Estimate, at_least, estimate

Array = NDArray[np.float64]

BOOTSTRAP_SEEDS = 10
RESAMPLES = 9999
TOO_FEW_FOR_BOOTSTRAP = f"fewer than {BOOTSTRAP_SEEDS} seeds: bootstrap intervals would be too narrow"
DEGENERATE = "the bootstrap is degenerate: too many of the scores are equal"


def iqm(scores: ArrayLike) -> float:
    """Interquartile mean: mean of the middle half of all scores (section 4.3). NaN is left out."""
    from scipy.stats import trim_mean

    values = _finite(scores)
    return float(trim_mean(values, 0.25)) if values.size else math.nan


def optimality_gap(scores: ArrayLike, target: float = 1.0) -> float:
    """Mean shortfall of scores below ``target``: mean(target - min(score, target)).

    Scores above the target do not compensate for those below (section 4.3). NaN is left out.
    """
    values = _finite(scores)
    return float(np.mean(target - np.minimum(values, target))) if values.size else math.nan


def iqms(values: Array) -> Array:
    """[..., V] -> [...], the interquartile mean of each row; a statistic for :func:`bootstrap`."""
    from scipy.stats import trim_mean

    out: Array = trim_mean(values, 0.25, axis=-1)
    return out


def bootstrap(
    scores: ArrayLike,
    statistic: Callable[[Array], Array],
    rng: np.random.Generator,
    by: Literal["seed", "task"] = "seed",
    resamples: int = RESAMPLES,
) -> Estimate:
    """A statistic of scores with its BCa bootstrap interval (Efron 1987), from 10 seeds on.

    Args:
        scores: [S] or [S, K], one row per seed; a seed with any NaN is excluded and counted.
        statistic: Takes [..., V], all scores of a resample in a row, and returns [...], such as :func:`iqms`.
        rng: Randomness of the resamples.
        by: ``seed`` resamples whole seeds, for tasks that share their trained team (cluster bootstrap); ``task``
            resamples the seeds of each task by themselves, for tasks trained separately (stratified bootstrap).
        resamples: Number of resamples.

    Raises:
        StatisticsError: If scores have more than two axes.
    """
    from scipy import stats

    kept, excluded = _rows(scores)
    seeds = len(kept)
    if not seeds:
        return Estimate(math.nan, None, 0, excluded, "every seed failed" if excluded else "no seeds")
    value = float(statistic(kept.ravel()))
    if seeds < BOOTSTRAP_SEEDS:
        return Estimate(value, None, seeds, excluded, TOO_FEW_FOR_BOOTSTRAP)

    def of_tasks(*columns: Array, axis: int) -> Array:
        return statistic(np.concatenate(columns, -1))

    def of_seeds(rows: NDArray[np.int64], axis: int) -> Array:
        return statistic(kept[rows].reshape(*rows.shape[:-1], -1))

    drawn = (np.arange(seeds),) if by == "seed" else tuple(kept.T)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # scipy warns and returns NaN if too many of the resamples have the same statistic
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            drawn, of_seeds if by == "seed" else of_tasks, n_resamples=resamples, batch=1000, method="BCa",
            vectorized=True, confidence_level=LEVEL, rng=rng
        ).confidence_interval  # fmt: skip
    if not np.isfinite([found.low, found.high]).all() or found.low == found.high:
        return Estimate(value, None, seeds, excluded, DEGENERATE)
    return Estimate(value, (float(found.low), float(found.high)), seeds, excluded, method=f"BCa bootstrap by {by}")


def probability_of_improvement(ours: ArrayLike, theirs: ArrayLike) -> Estimate:
    """Chance that a random seed of ``ours`` exceeds one of ``theirs``, ties counting half, with its interval.

    Mann-Whitney U / (n m), 0.5 for identical samples (section 4.3); over tasks, the mean. The interval is DeLong's
    (1988) on the logit scale with the degrees of freedom of Brunner and Munzel (2000). If all seeds of one side are
    better, it is the exact binomial interval of the smaller number of seeds.

    Args:
        ours: [S] or [S, K] scores; a seed with any NaN is excluded and counted.
        theirs: [S'] or [S', K].

    Raises:
        StatisticsError: If scores have more than two axes.
    """
    (x, missing), (y, other_missing) = _rows(ours), _rows(theirs)
    n, m, excluded = len(x), len(y), missing + other_missing
    seeds = min(n, m)
    if not seeds:
        return Estimate(math.nan, None, 0, excluded, "one side has no seeds")
    wins = (np.sign(x[:, None] - y[None]).mean(-1) + 1) / 2  # [S, S']
    value = float(wins.mean())
    if seeds < MIN_SEEDS:
        return Estimate(value, None, seeds, excluded, TOO_FEW)
    mine, yours = float(wins.mean(1).var(ddof=1)) / n, float(wins.mean(0).var(ddof=1)) / m
    if value in (0.0, 1.0):
        low = at_least(seeds)
        interval = (low, 1.0) if value else (0.0, 1 - low)
        return Estimate(value, interval, seeds, excluded, method="exact binomial")
    if not mine + yours:
        return Estimate(value, None, seeds, excluded, EQUAL)
    freedom = (mine + yours) ** 2 / (mine**2 / (n - 1) + yours**2 / (m - 1))
    half = float(stdtrit(freedom, 0.5 + LEVEL / 2)) * math.sqrt(mine + yours)
    return Estimate(value, SHARE.around(value, half), seeds, excluded, method="DeLong, t of the logit")


def performance_profile(scores: ArrayLike, thresholds: Sequence[float]) -> list[Estimate]:
    """Share of scores above each threshold (section 4.2), with its pointwise interval over seeds.

    Args:
        scores: [S] or [S, K], one row per seed; a seed with any NaN is excluded and counted.
        thresholds: Thresholds of the score.
    """
    kept, excluded = _rows(scores)
    found = [estimate((kept > threshold).mean(1), SHARE) for threshold in thresholds]
    return [replace(at, excluded=excluded) for at in found]


def _rows(scores: ArrayLike) -> tuple[Array, int]:
    """[S, K] the seeds without NaN, and the number of others."""
    every = np.asarray(scores, dtype=np.float64)
    if every.ndim not in (1, 2):
        raise StatisticsError(f"scores: must be [seeds] or [seeds, tasks] (got the shape {list(every.shape)})")
    every = every.reshape(len(every), -1 if every.size else 1)
    kept = every[np.isfinite(every).all(1)]
    return kept, len(every) - len(kept)


def _finite(scores: ArrayLike) -> Array:
    values = np.asarray(scores, dtype=np.float64).ravel()
    return values[np.isfinite(values)]
