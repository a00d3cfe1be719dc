import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import mannwhitneyu

from agentcomm.evaluation import statistics as s

numbers = st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 3))
samples = st.lists(numbers, min_size=1, max_size=12)
quick = settings(max_examples=40, deadline=None)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def test_iqm_is_the_mean_of_the_middle_half() -> None:
    assert s.iqm([100.0, 1, 2, 3, 4, 5, 6, -50]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert s.iqm([[1.0, math.nan], [3.0, 2.0]]) == pytest.approx(2.0)
    assert math.isnan(s.iqm([]))


def test_optimality_gap_does_not_let_a_good_score_pay_for_a_bad_one() -> None:
    assert s.optimality_gap([0.5, 5.0]) == pytest.approx(0.25)
    assert s.optimality_gap([2.0, 3.0], target=2.0) == 0
    assert math.isnan(s.optimality_gap([math.nan]))


@quick
@given(samples, samples)
def test_probability_of_improvement_is_mann_whitney(x: list[float], y: list[float]) -> None:
    ours = s.probability_of_improvement(x, y)
    assert ours == pytest.approx(mannwhitneyu(x, y).statistic / (len(x) * len(y)))
    assert ours + s.probability_of_improvement(y, x) == pytest.approx(1.0)
    assert s.probability_of_improvement(x, x) == pytest.approx(0.5)


@quick
@given(st.lists(numbers, min_size=3, max_size=10))
def test_interval_lies_within_the_data_and_around_the_middle(values: list[float]) -> None:
    found = s.estimate(values, rng())
    assert found.interval is not None
    low, high = found.interval
    assert min(values) - 1e-9 <= low <= found.value + 1e-9
    assert found.value - 1e-9 <= high <= max(values) + 1e-9
    assert s.estimate(values, rng()) == found


@quick
@given(st.lists(numbers, min_size=3, max_size=8), st.floats(0.1, 10), numbers)
def test_interval_moves_with_scale_and_shift(values: list[float], scale: float, shift: float) -> None:
    plain = s.estimate(values, rng()).interval
    moved = s.estimate([scale * v + shift for v in values], rng()).interval
    assert plain is not None
    assert moved == pytest.approx([scale * end + shift for end in plain], abs=1e-6)


def test_interval_agrees_with_scipy() -> None:
    values = rng(5).normal(10, 2, 20)
    ours = s.estimate(values, rng(), resamples=20_000).interval
    theirs = scipy_bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert ours == pytest.approx(theirs, abs=0.05)


def test_interval_agrees_with_the_normal_theory_for_many_seeds() -> None:
    values = rng(2).normal(0, 1, 400)
    interval = s.estimate(values, rng()).interval
    half = 1.96 * values.std() / 20
    assert interval == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_three_seeds_give_their_range_which_is_why_the_report_warns() -> None:
    assert s.estimate([1.0, 5.0, 2.0], rng()).interval == (1.0, 5.0)
    assert s.coverage_of_range(3) == 0.75
    draws = rng(3).normal(size=(20_000, 3))
    assert float(((draws.min(1) < 0) & (draws.max(1) > 0)).mean()) == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0]])
def test_no_interval_from_fewer_than_three_seeds(values: list[float]) -> None:
    found = s.estimate(values, rng())
    assert found.interval is None
    assert found.value == pytest.approx(np.mean(values))
    assert "fewer than 3 seeds" in found.reason


def test_failed_seeds_are_excluded_and_counted() -> None:
    found = s.estimate([1.0, math.nan, 2.0, 3.0], rng())
    assert (found.value, found.seeds, found.excluded) == (2.0, 3, 1)
    nothing = s.estimate([math.nan, math.nan], rng())
    assert not nothing.known
    assert nothing.reason == "every seed failed"
    assert not s.estimate([], rng()).known


def test_seeds_are_drawn_whole() -> None:
    # two tasks per seed that cancel out: drawing whole seeds keeps the mean, drawing single scores would not
    scores = np.array([[10.0, -10.0], [20.0, -20.0], [30.0, -30.0]])
    assert np.all(s.bootstrap(scores, rng()) == 0)
    assert s.estimate(scores, rng()).interval == (0, 0)
    assert s.estimate(scores, rng(), s.iqms).value == pytest.approx(0)


def test_paired_difference_takes_only_shared_seeds_and_uses_the_pairing() -> None:
    ours = {0: 11.0, 1: 21.0, 2: 31.0, 3: 5.0, 4: math.nan}
    theirs = {0: 10.0, 1: 20.0, 2: 30.0, 4: 1.0}
    found = s.paired_difference(ours, theirs, rng())
    assert (found.value, found.interval, found.seeds, found.excluded) == (1.0, (1.0, 1.0), 3, 2)
    assert found.excludes(0.0)


@quick
@given(st.lists(st.floats(1, 10), min_size=3, max_size=6), st.floats(0, 1), st.floats(1, 20))
def test_retained_fraction_of_a_mixture(clean: list[float], kept: float, gain: float) -> None:
    floor = [c + gain for c in clean]
    attacked = [kept * c + (1 - kept) * f for c, f in zip(clean, floor, strict=True)]
    found = s.retained_fraction(by_seed(attacked), by_seed(clean), by_seed(floor), rng())
    assert found.value == pytest.approx(kept, abs=1e-6)
    assert found.interval == pytest.approx((kept, kept), abs=1e-6)


def test_retained_fraction_has_no_direction_and_sees_worse_than_the_floor() -> None:
    clean, floor, attacked = by_seed([6.0, 7, 8]), by_seed([14.0, 15, 16]), by_seed([16.0, 17, 18])
    found = s.retained_fraction(attacked, clean, floor, rng())
    negated = [{k: -v for k, v in side.items()} for side in (attacked, clean, floor)]
    assert found.value == pytest.approx(-0.25)
    assert s.retained_fraction(*negated, rng()) == found


def test_retained_fraction_resamples_seeds_jointly() -> None:
    # seeds differ a lot, but each retains exactly half: the joint bootstrap knows that
    clean, floor = by_seed([1.0, 5, 9, 2]), by_seed([11.0, 25, 13, 7])
    half = {k: (clean[k] + floor[k]) / 2 for k in clean}
    assert s.retained_fraction(half, clean, floor, rng()).interval == pytest.approx((0.5, 0.5))


def test_no_retained_fraction_of_nothing() -> None:
    same = by_seed([5.0, 6, 7])
    assert s.retained_fraction(same, same, same, rng()).reason == s.NOTHING_TO_RETAIN
    unsure = s.retained_fraction(same, same, by_seed([6.0, 5.5, 6.8]), rng())
    assert not unsure.known
    assert not s.retained_fraction(same, {}, same, rng()).known


def test_retained_fraction_without_interval_for_two_seeds() -> None:
    found = s.retained_fraction(by_seed([3.0, 3]), by_seed([1.0, 1]), by_seed([5.0, 5]), rng())
    assert (found.value, found.interval) == (0.5, None)
