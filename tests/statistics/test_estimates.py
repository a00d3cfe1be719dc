"""Estimates with intervals, and ratios of gains, against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, t, ttest_1samp

from agentcomm import statistics as s
from agentcomm.base.errors import StatisticsError

numbers = st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 3))
shares = st.lists(st.integers(0, 16).map(lambda k: k / 16), min_size=5, max_size=12)
quick = settings(max_examples=25, deadline=None)


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


@quick
@given(st.lists(numbers, min_size=5, max_size=12, unique=True))
def test_the_interval_of_an_unbounded_score_is_students(values: list[float]) -> None:
    found = s.estimate(values)
    assert found.interval == pytest.approx(tuple(ttest_1samp(values, 0).confidence_interval()))
    assert (found.method, found.reason) == ("t", "")


@quick
@given(shares)
def test_intervals_of_shares_stay_within_the_bounds_and_around_the_mean(values: list[float]) -> None:
    found = s.estimate(values, s.SHARE)
    if found.interval is None:
        assert len(set(values)) == 1
        assert 0 < values[0] < 1
        return
    low, high = found.interval
    assert 0 <= low <= found.value <= high <= 1
    mirrored = s.estimate([1 - value for value in values], s.SHARE).interval
    assert mirrored == pytest.approx((1 - high, 1 - low))
    wider = s.estimate([20 * value - 3 for value in values], s.Scale(-3, 17)).interval
    assert wider == pytest.approx((20 * low - 3, 20 * high - 3))


def test_the_interval_of_shares_is_the_delta_method_on_log_odds() -> None:
    values = np.array([0.6, 0.7, 0.75, 0.8, 0.9])
    mean, error = values.mean(), values.std(ddof=1) / math.sqrt(5)
    half = t.ppf(0.975, 4) * error / (mean * (1 - mean))
    odds = math.log(mean / (1 - mean))
    expected = tuple(1 / (1 + math.exp(-(odds + sign * half))) for sign in (-1, 1))
    assert s.estimate(values, s.SHARE).interval == pytest.approx(expected)


def test_the_interval_of_positive_scores_is_the_delta_method_on_logs() -> None:
    values = np.array([1.0, 2.0, 2.5, 3.0, 7.0])
    factor = math.exp(t.ppf(0.975, 4) * values.std(ddof=1) / math.sqrt(5) / values.mean())
    expected = (values.mean() / factor, values.mean() * factor)
    assert s.estimate(values, s.POSITIVE).interval == pytest.approx(expected)
    mirrored = s.estimate(-values, s.Scale(high=0.0)).interval
    assert mirrored == pytest.approx((-expected[1], -expected[0]))


@pytest.mark.parametrize("seeds", [5, 10, 30])
def test_seeds_that_all_reach_a_bound_have_the_exact_binomial_interval(seeds: int) -> None:
    exact = binomtest(seeds, seeds).proportion_ci(method="exact")
    assert s.estimate([1.0] * seeds, s.SHARE).interval == pytest.approx((exact.low, exact.high))
    assert s.estimate([0.0] * seeds, s.SHARE).interval == pytest.approx((0.0, 1 - exact.low))
    steps = s.estimate([20.0] * seeds, s.Scale(0, 20))
    assert steps.interval == pytest.approx((20 * exact.low, 20.0))
    assert steps.method == "exact binomial"


@pytest.mark.parametrize(("values", "scale"), [([6.0] * 10, s.REAL), ([0.5] * 5, s.SHARE), ([0.0] * 5, s.POSITIVE)])
def test_equal_seeds_elsewhere_have_no_interval(values: list[float], scale: s.Scale) -> None:
    found = s.estimate(values, scale)
    assert (found.value, found.interval) == (values[0], None)
    assert "all seeds are equal" in found.reason


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0, 4.0, 3.0]])
def test_below_five_seeds_there_is_no_interval(values: list[float]) -> None:
    found = s.estimate(values)
    assert (found.value, found.interval) == (np.mean(values), None)
    assert "fewer than 5 seeds" in found.reason


def test_failed_seeds_are_excluded_and_counted() -> None:
    found = s.estimate({0: 1.0, 1: math.nan, 2: 2.0, 3: 3.0, 4: 0.0, 5: 4.0})
    assert (found.value, found.seeds, found.excluded) == (2.0, 5, 1)
    nothing = s.estimate([math.nan, math.nan])
    assert (nothing.known, nothing.reason, nothing.excluded) == (False, "every seed failed", 2)
    assert s.estimate({}).reason == "no seeds"


def test_scores_outside_of_their_scale_are_an_error_and_rounding_is_not() -> None:
    assert s.estimate([1 + 1e-12, 1.0], s.SHARE).value == 1.0
    with pytest.raises(StatisticsError, match=r"1\.2 lies outside of 0 to 1"):
        s.estimate([0.5, 1.2], s.SHARE)
    with pytest.raises(StatisticsError, match="low < high"):
        s.Scale(1.0, 1.0)


def test_a_group_that_no_seed_has_reached_may_be_large() -> None:
    for seeds in (5, 10, 30):
        assert (1 - s.unseen_share(seeds)) ** seeds == pytest.approx(0.05)
    assert s.unseen_share(0) == 1


def test_retained_fraction_of_a_fixed_floor_and_gain_is_the_t_interval() -> None:
    # nothing but the attacked score varies, so Fieller's interval is Student's, divided by the gain
    values = [5.0, 6.0, 4.0, 5.5, 7.0, 3.0]
    clean, floor = by_seed([11.0] * 6), by_seed([1.0] * 6)
    found = s.retained_fraction(by_seed(values), clean, floor)
    low, high = ttest_1samp(values, 0).confidence_interval()
    assert found.interval == pytest.approx(((low - 1) / 10, (high - 1) / 10))
    assert found.value == pytest.approx((np.mean(values) - 1) / 10)


def test_the_ends_of_fiellers_interval_are_where_the_t_test_turns() -> None:
    rng = np.random.default_rng(1)
    floor, gain = rng.normal(0, 1, 8), rng.normal(4, 1, 8)
    part = 0.4 * gain + rng.normal(0, 0.6, 8)
    sides = [by_seed(list(values)) for values in (floor + part, floor + gain, floor)]
    found = s.retained_fraction(*sides)
    assert found.interval is not None
    for ratio in found.interval:
        assert ttest_1samp(part - ratio * gain, 0).pvalue == pytest.approx(0.05)
    # less is better: the same fraction
    mirrored = s.retained_fraction(*({seed: -value for seed, value in side.items()} for side in sides))
    assert mirrored.interval == pytest.approx(found.interval)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_without_a_gain_nothing_is_retained(seeds: int) -> None:
    rng = np.random.default_rng(2)
    sides = [by_seed(list(rng.normal(0, 1, seeds))) for _ in range(3)]
    sides[1] = {seed: sides[2][seed] + (-1) ** seed for seed in range(seeds)}
    found = s.retained_fraction(*sides)
    assert not found.known
    assert found.interval is None
    assert "nothing to retain" in found.reason


def test_retained_fraction_takes_seeds_with_all_three_sides() -> None:
    found = s.retained_fraction(
        {0: 1.0, 1: 2.0, 2: 3.0}, {0: 2.0, 1: 4.0, 2: math.nan}, {0: 0.0, 1: 0.0, 2: 0.0, 3: 0.0}
    )
    assert (found.value, found.interval, found.seeds, found.excluded) == (0.5, None, 2, 2)
    assert s.retained_fraction({0: 1.0}, {1: 1.0}, {2: 1.0}).reason.startswith("no seed has all three")
    whole = s.retained_fraction(*(by_seed([value] * 6) for value in (5.0, 10.0, 0.0)))
    assert (whole.value, whole.interval) == (0.5, None)
