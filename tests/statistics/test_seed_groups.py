"""Comparison of independent groups of seeds against scipy and by hand."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_ind

from agentcomm.base.errors import StatisticsError
from agentcomm.statistics import SHARE
from agentcomm.statistics.groups import compare_groups


def test_interval_is_welchs_and_p_counts_rearrangements() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(1, 1, 8), rng.normal(0, 3, 6)
    made = compare_groups(dict(enumerate(x)), dict(enumerate(y, 100)))
    welch = ttest_ind(x, y, equal_var=False).confidence_interval()
    assert made.difference.value == pytest.approx(x.mean() - y.mean())
    assert made.difference.interval == pytest.approx((welch.low, welch.high))
    assert made.seeds == 6
    # of 20 ways to choose 3 of 6, two are as far apart
    assert compare_groups({0: 1, 1: 2, 2: 3}, {3: 7, 4: 8, 5: 9}).p == pytest.approx(2 / 20)


def test_differences_of_shares_stay_within_their_bounds() -> None:
    ours, theirs = {s: 1.0 - 0.01 * (s == 3) for s in range(6)}, {s: 0.02 * s for s in range(6)}
    low, high = compare_groups(ours, theirs, SHARE).difference.interval or (math.nan, math.nan)
    assert 0.8 < low < 0.95 < high < 1
    with pytest.raises(StatisticsError, match="lies outside"):
        compare_groups({0: 1.2}, theirs, SHARE)


def test_what_cannot_be_compared_has_no_interval() -> None:
    few = compare_groups({0: 1.0, 1: 2.0, 2: math.nan}, dict.fromkeys(range(9), 0.0))
    assert (few.seeds, few.difference.excluded, few.difference.interval, few.supported) == (2, 1, None, False)
    none = compare_groups({0: math.nan}, {1: 1.0})
    assert (none.seeds, none.difference.known) == (0, False)
    equal = compare_groups(dict.fromkeys(range(5), 1.0), dict.fromkeys(range(5), 0.0))
    assert (equal.difference.value, equal.difference.interval) == (1.0, None)
