"""Tests over seeds, exact wherever that is feasible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agentcomm.base.errors import StatisticsError

Array = NDArray[np.float64]

COUNTED = 40  # seeds up to which all signs or divisions are counted
DRAWS = 99_999  # random ones beyond
ROUNDING = 1e-9  # relative error of sums of floats


def sign_flip(differences: ArrayLike, rng: np.random.Generator | None = None) -> float:
    """Two-sided p of paired differences being symmetric around 0, by flipping their signs (Fisher 1935).

    All 2^n signs are counted up to 40 pairs, see :func:`_count`. The smallest p that n pairs allow is 2^(1-n): five
    pairs cannot reach 0.05.

    Args:
        differences: [S], one per seed; NaN is excluded.
        rng: Randomness of the signs beyond 40 pairs.

    Returns:
        p; NaN without differences.

    Raises:
        StatisticsError: If there are more than 40 pairs and no generator.
    """
    values = _finite(differences)
    if not values.size:
        return math.nan
    observed = abs(values.sum()) - ROUNDING * np.abs(values).sum()
    if observed <= 0:
        return 1.0
    if values.size > COUNTED:
        draws = _generator(values.size, rng).choice([-1.0, 1.0], (DRAWS, values.size)) @ values
        return float((1 + (np.abs(draws) >= observed).sum()) / (1 + DRAWS))
    one, other = (_sums(-half, half) for half in (values[::2], values[1::2]))
    return float(_count(one, other, observed) / 2.0**values.size)


def permutation(ours: ArrayLike, theirs: ArrayLike, rng: np.random.Generator | None = None) -> float:
    """Two-sided p of two independent groups of seeds having the same distribution, by the difference of their means.

    All divisions into groups of these sizes are counted up to 40 seeds in all, see :func:`_count`; scipy's
    ``permutation_test`` takes seconds for ten against ten.

    Args:
        ours: [S] scores; NaN is excluded.
        theirs: [S'] scores.
        rng: Randomness of the divisions beyond 40 seeds.

    Returns:
        p; NaN if a group is empty.

    Raises:
        StatisticsError: If there are more than 40 seeds and no generator.
    """
    x, y = _finite(ours), _finite(theirs)
    if not x.size or not y.size:
        return math.nan
    pool = np.concatenate([x, y])
    pool -= pool.mean()  # the difference of means is then proportional to the sum of one group
    observed = abs(pool[: x.size].sum()) - ROUNDING * np.abs(pool).sum()
    if observed <= 0:
        return 1.0
    if pool.size > COUNTED:
        shuffled = _generator(pool.size, rng).permuted(np.tile(pool, (DRAWS, 1)), axis=1)
        return float((1 + (np.abs(shuffled[:, : x.size].sum(1)) >= observed).sum()) / (1 + DRAWS))
    halves = (pool[::2], pool[1::2])
    one, other = (_sums(np.zeros_like(half), half) for half in halves)
    taken, rest = (_sums(np.zeros_like(half), np.ones_like(half)) for half in halves)
    count = sum(_count(one[taken == k], other[rest == x.size - k], observed) for k in range(x.size + 1))
    return count / math.comb(pool.size, x.size)


def sign_test(worse: int, better: int, alternative: Literal["two-sided", "greater"] = "two-sided") -> float:
    """Exact p of the sign test: worse and better are equally likely; ties are left out beforehand.

    Args:
        worse: Number of pairs that are worse.
        better: Number of pairs that are better.
        alternative: ``greater`` asks only whether worse ones are more frequent.
    """
    from scipy.stats import binomtest

    if worse < 0 or better < 0:
        raise StatisticsError(f"numbers of pairs cannot be negative (got {worse} and {better})")
    return float(binomtest(worse, worse + better, 0.5, alternative).pvalue) if worse + better else 1.0


def holm(ps: Sequence[float]) -> list[float]:
    """The p values adjusted for being in one family (Holm 1979), in their order; NaN stays NaN and does not count."""
    values = np.asarray(ps, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    adjusted = np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1))
    values[order] = np.minimum(adjusted, 1.0)
    return [float(value) for value in values]


def equivalent(differences: ArrayLike, margin: float) -> float:
    """The p of the mean difference lying outside of +- margin, by two one-sided t tests (Schuirmann 1987).

    A small p supports "costs at most ``margin``". Equal differences have no spread to test with: p is then the
    smallest that n seeds allow, 2^-n, if they lie within the margin.

    Args:
        differences: [S], one per seed; NaN is excluded.
        margin: The largest difference that does not matter, above 0; fixed before looking at the data.

    Returns:
        p; NaN with fewer than two differences.

    Raises:
        StatisticsError: If the margin is not above 0.
    """
    from scipy.stats import ttest_1samp

    if not margin > 0:
        raise StatisticsError(
            f"margin: must be above 0 (got {margin}); give the largest difference that does not matter"
        )
    values = _finite(differences)
    if values.size < 2:
        return math.nan
    if np.ptp(values) <= ROUNDING * margin:
        return 2.0**-values.size if abs(values.mean()) < margin else 1.0
    above = ttest_1samp(values, -margin, alternative="greater").pvalue
    below = ttest_1samp(values, margin, alternative="less").pvalue
    return float(max(above, below))


def _finite(scores: ArrayLike) -> Array:
    values = np.asarray(scores, dtype=np.float64).ravel()
    return values[np.isfinite(values)]


def _sums(first: Array, second: Array) -> Array:
    """[2^n] the sums over all choices of ``first[i]`` or ``second[i]``."""
    sums = np.zeros(1)
    for one, other in zip(first, second, strict=True):
        sums = np.concatenate([sums + one, sums + other])
    return sums


def _count(one: Array, other: Array, bound: float) -> int:
    """The number of pairs of a sum of one half and a sum of the other whose total is at least ``bound`` in size.

    Meeting in the middle: 2^20 sums of each half stand for 2^40 totals.
    """
    one, other = np.sort(one), np.sort(other)
    above = other.size - np.searchsorted(other, bound - one, side="left")
    below = np.searchsorted(other, -bound - one, side="right")
    return int(above.sum() + below.sum())


def _generator(number: int, rng: np.random.Generator | None) -> np.random.Generator:
    if rng is None:
        raise StatisticsError(f"{number} seeds are too many for an exact count; give a numpy Generator as rng")
    return rng
