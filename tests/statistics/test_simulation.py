"""Simulated coverage and false positives of the project's own functions, at the sizes that its pages use."""

import numpy as np
import pytest

from benchmarks import statistics as simulated

TIMES = 4000
UNSEEN = "share of 0.95 in 80% of seeds, else 0.2"  # a group that all seeds of a sample may miss, within the bounds


@pytest.mark.slow
@pytest.mark.parametrize("population", simulated.POPULATIONS, ids=lambda p: p.name)
@pytest.mark.parametrize("seeds", simulated.SIZES)
def test_intervals_cover(population: simulated.Population, seeds: int) -> None:
    covered, _, missed = simulated.coverage(population, seeds, TIMES, np.random.default_rng(seeds))
    if population.name != UNSEEN:
        assert covered >= 0.93 - 0.008  # two standard errors of 4,000 samples
        return
    # The interval of such a sample cannot know of the group; all others are covered.
    assert missed == pytest.approx((1 - population.hidden) ** seeds, abs=0.03)
    assert covered + missed >= 0.93 - 0.008


@pytest.mark.slow
@pytest.mark.parametrize("seeds", simulated.SIZES)
def test_ratios_and_probabilities_cover(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    assert simulated.fraction_coverage(seeds, TIMES, rng) >= 0.93 - 0.008
    assert simulated.improvement_coverage(seeds, TIMES, rng) >= 0.93 - 0.008


@pytest.mark.slow
@pytest.mark.parametrize("names", [4, 16])
@pytest.mark.parametrize("seeds", [10, 30])
def test_what_was_chosen_is_covered(names: int, seeds: int) -> None:
    apart, same = simulated.selection_coverage(names, seeds, 2000, np.random.default_rng(names))
    assert apart >= 0.93
    assert same < 0.9  # what it is good for


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [10, 30])
@pytest.mark.parametrize("name", simulated.NULLS)
def test_equal_conditions_are_rarely_told_apart(name: str, seeds: int) -> None:
    alone, family = simulated.false_positives(name, seeds, 700, np.random.default_rng(seeds))
    assert alone <= 0.055 + 0.003
    assert family <= 0.055 + 0.009
