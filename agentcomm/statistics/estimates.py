"""Means over seeds with Student's interval on a scale without bounds, and ratios of gains with Fieller's.

The interval of a bounded score is computed for a function of the mean that has no bounds (log-odds for shares) by the
delta method and transformed back, so it covers the mean and never leaves the bounds. A plain t interval of shares does,
and covers 72-90% where this one covers 94% (``benchmarks/statistics.md``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from agentcomm.base.errors import StatisticsError

Array = NDArray[np.float64]
Scores = Mapping[int, float] | ArrayLike

MIN_SEEDS = 5  # for an interval; fewer seeds are shown as dots
LEVEL = 0.95

TOO_FEW = f"fewer than {MIN_SEEDS} seeds: an interval over seeds would be misleading"
EQUAL = "all seeds are equal: their spread says nothing about other seeds"
NO_DENOMINATOR = "the denominator cannot be told from zero"
NOTHING_TO_RETAIN = "clean and floor cannot be told apart: there is nothing to retain"
ROUNDING = 1e-9  # relative error of sums of floats


@dataclass(frozen=True)
class Scale:
    """The range of a score.

    Attributes:
        low: Its lower bound; -inf for none.
        high: Its upper bound; inf for none.
    """

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise StatisticsError(f"a scale needs low < high (got {self.low} and {self.high})")

    @property
    def of_differences(self) -> Scale:
        """The range of the difference of two scores."""
        return Scale(self.low - self.high, self.high - self.low)

    def check(self, scores: Array) -> Array:
        """The scores, with errors of rounding beyond the bounds removed.

        Raises:
            StatisticsError: If a score lies beyond the bounds.
        """
        inside = np.clip(scores, self.low, self.high)
        if not np.allclose(inside, scores, rtol=ROUNDING, atol=ROUNDING):
            wrong = scores[np.argmax(np.abs(inside - scores))]
            raise StatisticsError(f"the score {wrong:g} lies outside of {self.low:g} to {self.high:g}; give its scale")
        return inside

    def around(self, mean: float, half: float) -> tuple[float, float]:
        """The interval mean +- half, computed on a scale without bounds and transformed back.

        The transformation f is the logit, the log or the identity; f(mean) +- half |f'(mean)| by the delta method.

        Args:
            mean: A mean strictly within the bounds.
            half: Half the width of its interval if it had no bounds.
        """
        up, down = self.high - mean, mean - self.low
        if math.isinf(up) and math.isinf(down):
            return mean - half, mean + half
        if math.isinf(up):
            return self.low + down * math.exp(-half / down), self.low + down * _exp(half / down)
        if math.isinf(down):
            return self.high - up * _exp(half / up), self.high - up * math.exp(-half / up)
        width = self.high - self.low
        stretch = math.exp(-half * width / (up * down))  # of the odds down / up; f' = width / (up down)
        low = self.low + width * down * stretch / (down * stretch + up)
        high = self.high - width * up * stretch / (up * stretch + down)
        return low, high


REAL = Scale()
SHARE = Scale(0.0, 1.0)
POSITIVE = Scale(0.0)


@dataclass(frozen=True)
class Estimate:
    """A number with its interval over seeds.

    Attributes:
        value: The point estimate; NaN when there is none.
        interval: Low and high end of the 95% interval; None when there is none.
        seeds: Number of seeds in the estimate.
        excluded: Number of seeds excluded because they failed or lack their counterpart.
        reason: Why the value or the interval is missing; empty if neither is.
        method: How the interval was computed; empty if there is none.
    """

    value: float
    interval: tuple[float, float] | None
    seeds: int
    excluded: int = 0
    reason: str = ""
    method: str = ""

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.value)

    def excludes(self, value: float) -> bool:
        """Whether there is an interval and ``value`` lies outside."""
        return self.interval is not None and not self.interval[0] <= value <= self.interval[1]


def estimate(scores: Scores, scale: Scale = REAL) -> Estimate:
    """Mean over seeds with its 95% interval.

    - fewer than ``MIN_SEEDS`` seeds: no interval.
    - all seeds at a bound of a scale with two bounds: the exact binomial interval over seeds (Clopper and Pearson
      1934); for shares of 1 in 10 seeds, 0.69 to 1.
    - all seeds equal otherwise: no interval.
    - else Student's t on the scale, see :meth:`Scale.around`.

    It covers the mean over all seeds that training could have had, unless a kind of outcome exists that no seed has
    reached (:func:`unseen_share`).

    Args:
        scores: Score by seed, or [S] one score per seed; NaN is excluded and counted.
        scale: The range of the score.

    Raises:
        StatisticsError: If a score lies outside of the scale.
    """
    every = np.asarray(list(scores.values()) if isinstance(scores, Mapping) else scores, dtype=np.float64).ravel()
    kept = scale.check(every[np.isfinite(every)])
    seeds, excluded = kept.size, every.size - kept.size
    if not seeds:
        return Estimate(math.nan, None, 0, excluded, "every seed failed" if excluded else "no seeds")
    mean = float(scale.check(kept.mean()[None])[0])
    if seeds < MIN_SEEDS:
        return Estimate(mean, None, seeds, excluded, TOO_FEW)
    if np.ptp(kept) <= ROUNDING * max(1.0, abs(mean)):
        interval = _at_bound(mean, scale, seeds)
        reason, method = (EQUAL, "") if interval is None else ("", "exact binomial")
        return Estimate(mean, interval, seeds, excluded, reason, method)
    half = float(stdtrit(seeds - 1, 0.5 + LEVEL / 2) * kept.std(ddof=1) / math.sqrt(seeds))
    method = ("t", "t of the log", "t of the logit")[math.isfinite(scale.low) + math.isfinite(scale.high)]
    return Estimate(mean, scale.around(mean, half), seeds, excluded, method=method)


def unseen_share(seeds: int) -> float:
    """The share of trainings that may end in a way that none of ``seeds`` trainings did, at 95% confidence.

    Outcomes of training often fall into a few groups (a team has learned to communicate, or not). If a group of share q
    exists, all seeds miss it with probability (1 - q)^n, and then no interval from these seeds can know of it. The
    largest q with a probability above 5% is 1 - 0.05^(1/n): 45% of trainings for 5 seeds, 26% for 10, 10% for 30.
    """
    return float(1 - (1 - LEVEL) ** (1 / seeds)) if seeds else 1.0


def retained_fraction(
    attacked: Mapping[int, float], clean: Mapping[int, float], floor: Mapping[int, float]
) -> Estimate:
    """Retained fraction of a gain: (attacked - floor) / (clean - floor), 1 = unaffected, 0 = back at the floor.

    A ratio of means over seeds, paired by seed, so that one seed with a small gain does not dominate; see
    :func:`ratio`. The fraction is the same for scores of which less is better. It is negative if the attacked score is
    worse than the floor.

    Returns:
        The estimate; NaN with a reason if clean - floor cannot be told from zero.
    """
    table = aligned(attacked, clean, floor)
    kept = table[np.isfinite(table).all(1)]
    seeds, excluded = len(kept), len(table) - len(kept)
    if not seeds:
        return Estimate(math.nan, None, 0, excluded, "no seed has all three of attacked, clean and floor")
    found = ratio(kept[:, 0] - kept[:, 2], kept[:, 1] - kept[:, 2])
    return replace(
        found, excluded=excluded, reason=NOTHING_TO_RETAIN if found.reason == NO_DENOMINATOR else found.reason
    )


def ratio(parts: ArrayLike, wholes: ArrayLike) -> Estimate:
    """Ratio of two means with Fieller's interval, which exists exactly where a t test tells the denominator from zero.

    Args:
        parts: [S] numerators, one per seed (or other independent unit).
        wholes: [S] denominators.

    Returns:
        The estimate; NaN with a reason if the denominator cannot be told from zero.
    """
    part, whole = np.asarray(parts, dtype=np.float64), np.asarray(wholes, dtype=np.float64)
    seeds, a, g = len(part), float(part.mean()), float(whole.mean())
    negligible = ROUNDING * max(1.0, float(np.abs([part, whole]).max()))
    if seeds < MIN_SEEDS:
        if not (whole * np.sign(g) > negligible).all():
            return Estimate(math.nan, None, seeds, 0, NO_DENOMINATOR)
        return Estimate(a / g, None, seeds, 0, TOO_FEW)
    (aa, ag), (_, gg) = np.cov(part, whole) / seeds * float(stdtrit(seeds - 1, 0.5 + LEVEL / 2)) ** 2
    if abs(g) <= negligible or g * g <= gg:
        return Estimate(math.nan, None, seeds, 0, NO_DENOMINATOR)
    # The ratios r with (a - r g)^2 <= t^2 var(a - r g): between the roots of a quadratic.
    square, linear, constant = g * g - gg, a * g - ag, a * a - aa
    root = math.sqrt(max(0.0, linear * linear - square * constant))
    if root <= ROUNDING * square:
        return Estimate(a / g, None, seeds, 0, EQUAL)
    low, high = float((linear - root) / square), float((linear + root) / square)
    return Estimate(a / g, (low, high), seeds, 0, method="Fieller")


def aligned(*sides: Mapping[int, float]) -> Array:
    """[S, sides] scores of all seeds of any side, NaN where a side lacks the seed."""
    seeds = sorted({seed for side in sides for seed in side})
    rows = [[side.get(seed, math.nan) for side in sides] for seed in seeds]
    return np.asarray(rows, dtype=np.float64).reshape(len(seeds), len(sides))


def at_least(seeds: int) -> float:
    """Lower end of the exact binomial interval of a share if all of ``seeds`` seeds have it."""
    return float(((1 - LEVEL) / 2) ** (1 / seeds))


def _at_bound(mean: float, scale: Scale, seeds: int) -> tuple[float, float] | None:
    """Interval of a mean if all seeds have the same score; None unless it is a bound of a scale with two bounds."""
    width = scale.high - scale.low
    if not math.isfinite(width) or mean not in (scale.low, scale.high):
        return None
    reach = width * (1 - at_least(seeds))
    return (mean, mean + reach) if mean == scale.low else (mean - reach, mean)


def _exp(value: float) -> float:
    """Exponential function; inf where a float ends."""
    return math.exp(value) if value < 700 else math.inf
