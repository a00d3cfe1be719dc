"""Comparison of two independent groups of seeds, for conditions that share no seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.special import stdtrit

from agentcomm.statistics.comparison import Comparison
from agentcomm.statistics.estimates import EQUAL, LEVEL, MIN_SEEDS, REAL, TOO_FEW, Estimate, Scale
from agentcomm.statistics.tests import permutation


def compare_groups(
    ours: Mapping[int, float],
    theirs: Mapping[int, float],
    scale: Scale = REAL,
    rng: np.random.Generator | None = None,
) -> Comparison:
    """Compare two conditions whose seeds have nothing in common; failed seeds are excluded and counted.

    The interval is Welch's (1947), on a scale without bounds; p is that of the permutation test of the means.

    Args:
        ours: Score by seed.
        theirs: Score by seed.
        scale: The range of the scores.
        rng: Randomness of rearrangements where there are too many; by default a generator of its own, seeded with 0.

    Returns:
        The comparison; its number of seeds is that of the smaller group.
    """
    sides = [np.asarray(list(side.values()), dtype=np.float64) for side in (ours, theirs)]
    x, y = (scale.check(side[np.isfinite(side)]) for side in sides)
    seeds, excluded = min(x.size, y.size), sum(side.size for side in sides) - x.size - y.size
    if not seeds:
        return Comparison(Estimate(math.nan, None, 0, excluded, "a side has no seed with a score"), math.nan, 0)
    difference = float(x.mean() - y.mean())
    p = permutation(x, y, np.random.default_rng(0) if rng is None else rng)
    if seeds < MIN_SEEDS:
        return Comparison(Estimate(difference, None, seeds, excluded, TOO_FEW), p, seeds)
    parts = np.array([x.var(ddof=1) / x.size, y.var(ddof=1) / y.size])
    if not parts.sum() > 0:
        return Comparison(Estimate(difference, None, seeds, excluded, EQUAL), p, seeds)
    freedom = parts.sum() ** 2 / (parts**2 / [x.size - 1, y.size - 1]).sum()
    half = float(stdtrit(freedom, 0.5 + LEVEL / 2) * math.sqrt(parts.sum()))
    interval = scale.of_differences.around(difference, half)
    return Comparison(Estimate(difference, interval, seeds, excluded, method="Welch's t"), p, seeds)
