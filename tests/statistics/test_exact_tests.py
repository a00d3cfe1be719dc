"""Tests of significance against enumeration and scipy; comparisons, families and selection."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, permutation_test, ttest_1samp

from agentcomm import statistics as s
from agentcomm.base.errors import StatisticsError

small = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=7)
quick = settings(max_examples=25, deadline=None)


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


@quick
@given(small)
def test_sign_flip_counts_all_signs_with_ties(values: list[float]) -> None:
    totals = [
        abs(sum(a * b for a, b in zip(values, signs, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    expected = np.mean([total >= abs(sum(values)) for total in totals])
    assert s.sign_flip(values) == pytest.approx(expected)
    assert s.sign_flip([0.1 * value for value in values]) == pytest.approx(expected)  # sums are no longer exact


def test_sign_flip_is_scipys_and_its_smallest_p_is_known() -> None:
    values = np.random.default_rng(0).normal(0.5, 1, 11)
    theirs = permutation_test(
        (values,),
        lambda x, axis: abs(x.mean(axis)),
        permutation_type="samples",
        n_resamples=math.inf,
        alternative="greater",
    )
    assert s.sign_flip(values) == pytest.approx(theirs.pvalue)
    assert s.sign_flip([1.0] * 5) == 2**-4 > 0.05
    assert s.sign_flip([1.0, 2.0] * 15) == pytest.approx(2.0**-29)
    assert math.isnan(s.sign_flip([math.nan]))
    assert s.sign_flip([math.nan, 1.0, 1.0]) == 0.5


def test_beyond_forty_pairs_signs_are_drawn_from_the_given_generator() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 41)
    with pytest.raises(StatisticsError, match="41 seeds are too many"):
        s.sign_flip(values)
    drawn = s.sign_flip(values, np.random.default_rng(1))
    assert drawn == s.sign_flip(values, np.random.default_rng(1))
    assert drawn == pytest.approx(ttest_1samp(values, 0).pvalue, abs=0.02)
    # comparisons bring a generator of their own
    assert s.compare(by_seed(list(values)), by_seed([0.0] * 41)).p == pytest.approx(drawn, abs=0.01)


@quick
@given(small, small)
def test_permutation_counts_all_divisions_with_ties(x: list[float], y: list[float]) -> None:
    pool = x + y
    groups = [[pool[i] for i in chosen] for chosen in itertools.combinations(range(len(pool)), len(x))]
    rest = sum(pool)
    apart = [abs(sum(g) / len(x) - (rest - sum(g)) / len(y)) for g in groups]
    observed = abs(np.mean(x) - np.mean(y))
    assert s.permutation(x, y) == pytest.approx(np.mean([a >= observed - 1e-9 for a in apart]))


def test_permutation_is_scipys() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(0, 1, 7), rng.normal(1, 1, 6)
    theirs = permutation_test(
        (x, y), lambda a, b, axis: abs(a.mean(axis) - b.mean(axis)), n_resamples=math.inf, alternative="greater"
    )
    assert s.permutation(x, y) == pytest.approx(theirs.pvalue)
    assert math.isnan(s.permutation([], y))
    many = rng.normal(0, 1, 30), rng.normal(0, 1, 30)
    with pytest.raises(StatisticsError, match="60 seeds"):
        s.permutation(*many)
    assert s.permutation(*many, np.random.default_rng(0)) > 0.01


def test_sign_test_is_binomial() -> None:
    assert s.sign_test(9, 1) == pytest.approx(binomtest(9, 10).pvalue)
    assert s.sign_test(9, 1, "greater") == pytest.approx(11 / 1024)
    assert s.sign_test(1, 9, "greater") > 0.99
    assert s.sign_test(0, 0) == 1
    with pytest.raises(StatisticsError, match="negative"):
        s.sign_test(-1, 3)


def test_holm_by_hand() -> None:
    # Holm 1979: sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, and never below an earlier one
    assert s.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    unknown = s.holm([0.02, math.nan, 0.5])
    assert unknown[::2] == pytest.approx([0.04, 0.5])
    assert math.isnan(unknown[1])
    assert s.holm([0.9, 0.8]) == [1.0, 1.0]
    assert s.holm([]) == []


def test_equivalence_is_two_one_sided_t_tests() -> None:
    values = np.array([0.1, -0.2, 0.05, 0.0, 0.3, -0.1])
    error = values.std(ddof=1) / math.sqrt(6)
    inside = ttest_1samp(values, 0.5, alternative="less").pvalue  # the nearer margin
    assert s.equivalent(values, 0.5) == pytest.approx(inside)
    assert inside < 0.05
    assert s.equivalent(values, error / 10) > 0.05
    assert s.equivalent(values + 1, 0.5) > 0.99
    assert s.equivalent([0.0] * 10, 0.5) == 2**-10
    assert s.equivalent([0.5] * 10, 0.5) == 1
    assert math.isnan(s.equivalent([0.1], 0.5))
    with pytest.raises(StatisticsError, match="margin"):
        s.equivalent(values, 0)


def test_comparisons_are_paired_by_seed() -> None:
    base = np.random.default_rng(0).normal(0, 100, 10)
    ours = by_seed(list(base + 1 + np.arange(10) / 100)) | {10: 5.0, 11: math.nan}
    found = s.compare(ours, by_seed(list(base)) | {11: 1.0, 12: 0.0})
    assert found.difference.value == pytest.approx(1.045)
    assert (found.seeds, found.difference.excluded) == (10, 3)
    assert found.p == pytest.approx(2**-9)
    assert found.supported


def test_differences_of_shares_lie_within_minus_one_and_one() -> None:
    found = s.compare(by_seed([1.0] * 8 + [0.0]), by_seed([0.0] * 8 + [0.1]), s.SHARE).difference
    assert found.interval is not None
    assert -1 <= found.interval[0] < found.value < found.interval[1] <= 1


def test_claims_need_ten_seeds_and_the_family() -> None:
    def of(seeds: int, shift: float) -> s.Comparison:
        values = np.linspace(-1, 1, seeds) + shift
        return s.compare(by_seed(list(values)), by_seed([0.0] * seeds))

    assert of(9, 9.0).p < 0.05
    assert not of(9, 9.0).supported
    assert of(10, 0.6).supported
    made = s.family({"weak": of(10, 0.6)} | {str(k): of(10, 0.0) for k in range(5)} | {"few": of(5, 9.0)})
    assert made["weak"].adjusted == pytest.approx(6 * made["weak"].p)
    assert not made["weak"].supported
    assert not s.compare({}, {}).supported


def test_the_choice_is_reported_on_seeds_that_had_no_part_in_it() -> None:
    scores = {
        "lucky": by_seed([9.0 if seed % 2 == 0 else 0.0 for seed in range(12)]),
        "steady": by_seed([5.0 + seed / 100 for seed in range(12)]),
    }
    found = s.select_and_report(scores, "higher")
    assert (found.name, found.reported.value) == ("lucky", 0.0)
    assert (found.chosen_on, found.reported_on) == (tuple(range(0, 12, 2)), tuple(range(1, 12, 2)))
    assert s.select_and_report(scores, "lower").name == "steady"
    scores["steady"][0] = math.nan
    shifted = s.select_and_report(scores, "higher")
    assert 0 not in shifted.chosen_on + shifted.reported_on
    assert shifted.reported.excluded == 1
    assert not s.select_and_report({"a": {0: 1.0}, "b": {1: 1.0}}, "higher").reported.known
    with pytest.raises(StatisticsError, match="nothing to choose"):
        s.select_and_report({}, "higher")
