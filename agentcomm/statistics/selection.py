"""Choosing on some seeds and reporting on others.

The largest of m effects, reported on the seeds that it was chosen on, has an interval that covers 87 / 76 / 64% for
m = 4 / 9 / 16 instead of 95%.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from agentcomm.base.errors import StatisticsError
from agentcomm.statistics.estimates import REAL, Estimate, Scale, estimate


@dataclass(frozen=True)
class Selected:
    """What was chosen among several, and its score on seeds that had no part in the choice.

    Attributes:
        name: The chosen one; empty if there are no seeds to choose on.
        chosen_on: The seeds of the choice.
        reported_on: The other seeds.
        reported: The score of the chosen one over the other seeds.
    """

    name: str
    chosen_on: tuple[int, ...]
    reported_on: tuple[int, ...]
    reported: Estimate


def select_and_report(
    scores: Mapping[str, Mapping[int, float]], prefer: Literal["higher", "lower"], scale: Scale = REAL
) -> Selected:
    """Choose the best of several on every second seed, and report it on the other seeds.

    Args:
        scores: Score by seed, by name. Only seeds of all names count; one that failed for any name is excluded.
        prefer: Whether the higher or the lower mean is chosen; of equal ones the first.
        scale: The range of the scores.

    Raises:
        StatisticsError: If there is nothing to choose from.
    """
    if not scores:
        raise StatisticsError("there is nothing to choose from; give the scores of at least one name")
    every = sorted({seed for by_seed in scores.values() for seed in by_seed})
    whole = [s for s in every if all(math.isfinite(by_seed.get(s, math.nan)) for by_seed in scores.values())]
    first, second = tuple(whole[::2]), tuple(whole[1::2])
    if not first:
        return Selected("", (), (), Estimate(math.nan, None, 0, len(every), "no seed has a score of all names"))
    sign = 1 if prefer == "higher" else -1
    name = max(scores, key=lambda name: sign * float(np.mean([scores[name][s] for s in first])))
    reported = [scores[name][s] for s in second] + [math.nan] * (len(every) - len(whole))
    return Selected(name, first, second, estimate(reported, scale))
