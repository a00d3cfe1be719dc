"""Aggregates and detection against closed forms, scipy and counts by hand."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import mannwhitneyu, norm

from agentcomm import statistics as s
from agentcomm.base.errors import StatisticsError

numbers = st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 3))
samples = st.lists(numbers, min_size=1, max_size=12)
labeled = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40)
quick = settings(max_examples=25, deadline=None)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


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
    assert ours.value == pytest.approx(mannwhitneyu(x, y).statistic / (len(x) * len(y)))
    theirs = s.probability_of_improvement(y, x)
    assert ours.value + theirs.value == pytest.approx(1.0)
    if ours.interval is not None:
        assert theirs.interval is not None
        assert 0 <= ours.interval[0] <= ours.value <= ours.interval[1] <= 1
        assert theirs.interval == pytest.approx((1 - ours.interval[1], 1 - ours.interval[0]))


def test_probability_of_improvement_where_all_are_better_or_equal() -> None:
    assert s.probability_of_improvement(range(10, 20), range(8)).interval == pytest.approx((0.025 ** (1 / 8), 1.0))
    assert s.probability_of_improvement([1.0] * 6, [1.0] * 6).interval is None
    assert "fewer than 5" in s.probability_of_improvement([1.0] * 4, [1.0] * 6).reason
    tasks = s.probability_of_improvement([[1.0, 0.0]] * 6, [[0.0, 0.5]] * 6)
    assert tasks.value == 0.5
    assert not s.probability_of_improvement([math.nan], [1.0]).known


def test_the_bootstrap_is_scipys_bca_and_repeatable() -> None:
    values = rng(5).normal(10, 2, 20)

    def mean(x: np.ndarray) -> np.ndarray:
        return x.mean(-1)

    ours = s.bootstrap(values, mean, rng())
    theirs = scipy_bootstrap((values,), np.mean, rng=rng(1), n_resamples=20_000).confidence_interval
    assert ours.interval == pytest.approx(tuple(theirs), abs=0.06)
    assert s.bootstrap(values, mean, rng()) == ours
    assert s.bootstrap(values[:9], mean, rng()).reason.startswith("fewer than 10 seeds")
    assert s.bootstrap([*values, math.nan], mean, rng()).excluded == 1
    with pytest.raises(StatisticsError, match=r"\[seeds, tasks\]"):
        s.bootstrap(values.reshape(2, 5, 2), mean, rng())


def test_seeds_are_drawn_whole_or_task_by_task() -> None:
    # two tasks per seed that cancel out: drawing whole seeds keeps the mean, drawing task by task does not
    scores = np.stack([np.arange(12.0), -np.arange(12.0)], 1)
    whole = s.bootstrap(scores, lambda x: x.mean(-1), rng(), by="seed")
    assert (whole.value, whole.interval) == (0, None)
    apart = s.bootstrap(scores, lambda x: x.mean(-1), rng(), by="task").interval
    assert apart is not None
    assert apart[0] < -1 < 1 < apart[1]
    assert s.bootstrap(scores, s.iqms, rng(), by="task").value == s.iqm(scores)


def test_degenerate_bootstraps_say_so_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = s.bootstrap([1.0] * 10, s.iqms, rng())
    assert (found.value, found.interval) == (1.0, None)
    assert "degenerate" in found.reason


def test_performance_profile_counts_scores_above_each_threshold() -> None:
    scores = [[0.1, 0.9], [0.4, 0.8], [0.6, 0.7], [0.2, 0.5], [0.9, 1.0], [math.nan, 1.0]]
    found = s.performance_profile(scores, [0.0, 0.45, 1.0])
    assert [at.value for at in found] == pytest.approx([1.0, 0.7, 0.0])
    assert all(at.interval is not None and 0 <= at.interval[0] <= at.interval[1] <= 1 for at in found)
    assert (found[0].seeds, found[0].excluded) == (5, 1)


@quick
@given(labeled)
def test_detection_by_counting_pairs_and_thresholds(items: list[tuple[int, bool]]) -> None:
    scores, truth = np.array([k for k, _ in items], float), np.array([b for _, b in items])
    if truth.all() or not truth.any():
        with pytest.raises(StatisticsError, match="one class"):
            s.roc(scores, truth)
        return
    found = s.roc(scores, truth)
    for fpr, tpr, threshold in zip(found.fpr, found.tpr, found.thresholds, strict=True):
        assert tpr == pytest.approx((scores[truth] >= threshold).mean())
        assert fpr == pytest.approx((scores[~truth] >= threshold).mean())
    u = mannwhitneyu(scores[truth], scores[~truth]).statistic
    assert s.auroc(scores, truth) == pytest.approx(u / (truth.sum() * (~truth).sum()))
    assert s.auroc(scores, truth) == pytest.approx(np.trapezoid(found.tpr, found.fpr))
    steps, recall = [], 0.0
    for threshold in found.thresholds[1:]:
        flagged = scores >= threshold
        now = (flagged & truth).sum() / truth.sum()
        steps.append((now - recall) * (flagged & truth).sum() / flagged.sum())
        recall = now
    assert s.auprc(scores, truth) == pytest.approx(sum(steps))
    allowed = [(scores[truth] >= at).mean() for at in found.thresholds if (scores[~truth] >= at).mean() <= 0.25]
    assert s.tpr_at_fpr(scores, truth, 0.25) == pytest.approx(max(allowed))


def test_detection_has_the_areas_of_two_normals() -> None:
    draw = rng(1)
    truth = draw.random(40_000) < 0.3
    scores = draw.normal(truth.astype(float), 1)
    assert s.auroc(scores, truth) == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=0.01)
    assert s.tpr_at_fpr(scores, truth) == pytest.approx(norm.sf(norm.isf(0.01) - 1), abs=0.02)
    points = s.roc(scores, truth).points()
    assert len(points) <= 50
    assert (points[0], points[-1]) == ([0.0, 0.0], [1.0, 1.0])
    assert s.auprc(draw.random(40_000), truth) == pytest.approx(truth.mean(), abs=0.02)
    with pytest.raises(StatisticsError, match="NaN"):
        s.roc([1.0, math.nan], [True, False])
    with pytest.raises(StatisticsError, match="a label per score"):
        s.roc([1.0, 2.0], [True])


def test_corrected_rates_undo_the_detectors_errors() -> None:
    seeds = range(8)
    truth = {seed: 0.2 + seed / 100 for seed in seeds}
    hits, alarms = {seed: 0.9 - seed / 200 for seed in seeds}, {seed: 0.1 + seed / 300 for seed in seeds}
    flagged = {seed: truth[seed] * hits[seed] + (1 - truth[seed]) * alarms[seed] for seed in seeds}
    found = s.corrected_rate(flagged, hits, alarms)
    assert found.value == pytest.approx(np.mean(list(truth.values())), abs=0.002)
    assert found.interval is not None
    assert found.interval[0] < found.value < found.interval[1]
    assert "told apart" in s.corrected_rate(flagged, alarms, alarms).reason
    below = s.corrected_rate(dict.fromkeys(seeds, 0.0) | {0: 0.01}, hits, alarms)
    assert below.value == 0.0


def test_corrected_counts_by_hand_and_their_coverage() -> None:
    found = s.corrected_count((30, 100), (90, 100), (5, 100))
    assert found.value == pytest.approx((0.3 - 0.05) / (0.9 - 0.05))
    draw, covered = rng(3), []
    for _ in range(1000):
        flagged = draw.binomial(200, 0.25 * 0.85 + 0.75 * 0.08)
        low, high = s.corrected_count(
            (flagged, 200), (draw.binomial(60, 0.85), 60), (draw.binomial(90, 0.08), 90)
        ).interval
        covered.append(low <= 0.25 <= high)
    assert np.mean(covered) > 0.93
    assert s.corrected_count((1, 2), (1, 10), (5, 10)).interval is None
    with pytest.raises(StatisticsError, match="hits: needs a count"):
        s.corrected_count((1, 2), (3, 2), (0, 1))
