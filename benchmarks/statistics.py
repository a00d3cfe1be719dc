"""Coverage of the intervals and false positives of the claims, simulated: ``python -m benchmarks.statistics``.

Uses the project's own functions at the numbers of seeds that its pages use. Shares are those of 512 episodes. Writes
``benchmarks/statistics.md``; ``tests/statistics/test_simulation.py`` holds the same numbers to their limits.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agentcomm import statistics as s

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Array]

SIZES = (5, 10, 30)
EPISODES = 512
FAMILY = 6  # comparisons in a family


@dataclass(frozen=True)
class Population:
    """Scores of seeds, whose mean is known.

    Attributes:
        name: What it is.
        mean: Its mean.
        scale: The scale of its scores.
        draw: Draws the scores of some seeds.
        hidden: Share of seeds in its rarer group, which all seeds of a sample may miss; 0 without groups.
    """

    name: str
    mean: float
    scale: s.Scale
    draw: Draw
    hidden: float = 0.0


def of_episodes(chance: Callable[[np.random.Generator, int], Array]) -> Draw:
    """Shares of successful episodes of seeds with these chances of success."""

    def draw(rng: np.random.Generator, seeds: int) -> Array:
        out: Array = rng.binomial(EPISODES, chance(rng, seeds)) / EPISODES
        return out

    return draw


def beta(a: float, b: float) -> Draw:
    """Shares of seeds whose chances of success have a beta distribution."""
    return of_episodes(lambda rng, n: rng.beta(a, b, n))


def groups(good: float, bad: float, share: float) -> Callable[[np.random.Generator, int], Array]:
    """Seeds of which a share is good, the others bad."""
    return lambda rng, n: np.where(rng.random(n) < share, good, bad)


def fraction(rng: np.random.Generator, seeds: int) -> s.Estimate:
    """A retained fraction of one half, of gains that vary by 30% between seeds."""
    floor = rng.normal(0, 1, seeds)
    gain = rng.normal(4, 1.2, seeds)
    half = 0.5 * gain + rng.normal(0, 0.5, seeds)
    sides = (dict(enumerate(values)) for values in (floor + half, floor + gain, floor))
    return s.retained_fraction(*sides)


POPULATIONS = (
    Population("normal", 10.0, s.REAL, lambda rng, n: rng.normal(10, 2, n)),
    Population("steps of at most 20, 20 beta(17, 3)", 17.0, s.Scale(0, 20), lambda rng, n: 20 * rng.beta(17, 3, n)),
    Population("positive, log-normal (sd 0.5)", np.exp(0.125), s.POSITIVE, lambda rng, n: rng.lognormal(0, 0.5, n)),
    Population("share, beta(2, 2)", 0.5, s.SHARE, beta(2, 2)),
    Population("share, beta(8, 2)", 0.8, s.SHARE, beta(8, 2)),
    Population("share, beta(20, 1), close to 1", 20 / 21, s.SHARE, beta(20, 1)),
    Population("share of 0.5, episodes only", 0.5, s.SHARE, of_episodes(lambda rng, n: np.full(n, 0.5))),
    Population("share of 0.002, episodes only", 0.002, s.SHARE, of_episodes(lambda rng, n: np.full(n, 0.002))),
    Population("share of 1 in 80% of seeds, else 0", 0.8, s.SHARE, of_episodes(groups(1.0, 0.0, 0.8)), 0.2),
    Population("share of 1 in half of the seeds, else 0", 0.5, s.SHARE, of_episodes(groups(1.0, 0.0, 0.5)), 0.5),
    Population("share of 0.95 in 80% of seeds, else 0.2", 0.8, s.SHARE, of_episodes(groups(0.95, 0.2, 0.8)), 0.2),
)


def coverage(population: Population, seeds: int, times: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Share of 95% intervals that cover the mean, their mean width, and the share of samples that lack a group."""
    covered, widths, missed = [], [], []
    for _ in range(times):
        scores = population.draw(rng, seeds)
        missed.append(bool(population.hidden) and bool(np.ptp(scores) < 0.15))
        found = s.estimate(scores, population.scale).interval
        if found is None:  # all seeds happen to be equal
            continue
        low, high = found
        if not population.scale.low <= low <= high <= population.scale.high:
            raise AssertionError(f"{population.name}: {low} to {high} leaves the scale")
        covered.append(low <= population.mean <= high)
        widths.append(high - low)
    if len(covered) < 0.9 * times:
        raise AssertionError(f"{population.name}: only {len(covered)} of {times} samples have an interval")
    return float(np.mean(covered)), float(np.mean(widths)), float(np.mean(missed))


def interval(found: s.Estimate) -> tuple[float, float]:
    """The interval, or an error: all of these samples have one."""
    if found.interval is None:
        raise AssertionError(f"no interval: {found.reason}")
    return found.interval


def fraction_coverage(seeds: int, times: int, rng: np.random.Generator) -> float:
    """Share of Fieller's intervals that cover the retained fraction."""
    found = [fraction(rng, seeds).interval for _ in range(times)]
    return float(np.mean([ends is not None and ends[0] <= 0.5 <= ends[1] for ends in found]))


def improvement_coverage(seeds: int, times: int, rng: np.random.Generator) -> float:
    """Share of intervals of the probability of improvement that cover it; two normals at a distance of one sd."""
    truth = 0.7602499389065234  # the normal distribution function at 1 / sqrt 2
    found = [
        interval(s.probability_of_improvement(rng.normal(1, 1, seeds), rng.normal(0, 1, seeds))) for _ in range(times)
    ]
    return float(np.mean([low <= truth <= high for low, high in found]))


def selection_coverage(names: int, seeds: int, times: int, rng: np.random.Generator) -> tuple[float, float]:
    """Share of intervals that cover the chosen one's mean: reported on other seeds, and on the same ones.

    Effects of equal size (0), whose seeds share half of their variance, as those of one team do.
    """
    apart = same = 0
    for _ in range(times):
        shared = rng.normal(0, 1, seeds)
        scores = {str(k): dict(enumerate((shared + rng.normal(0, 1, seeds)).tolist())) for k in range(names)}
        low, high = interval(s.select_and_report(scores, "higher").reported)
        apart += low <= 0 <= high
        best = max(scores, key=lambda name: np.mean(list(scores[name].values())))
        low, high = interval(s.estimate(scores[best]))
        same += low <= 0 <= high
    return apart / times, same / times


NULLS: dict[str, Callable[[np.random.Generator, int], tuple[Array, Array]]] = {
    "normal, seeds shared": lambda rng, n: rng.normal(0, 2, n) + rng.normal(0, 1, (2, n)),
    "shares close to 1": lambda rng, n: rng.binomial(EPISODES, np.tile(rng.beta(20, 1, n), (2, 1))) / EPISODES,
    "two groups of seeds": lambda rng, n: np.where(rng.random((2, n)) < 0.8, 20.0, 6.0) + rng.normal(0, 0.3, (2, n)),
    "heavy tails (t with 2 degrees of freedom)": lambda rng, n: rng.standard_t(2, (2, n)),
}


def false_positives(name: str, seeds: int, times: int, rng: np.random.Generator) -> tuple[float, float]:
    """Share of supported comparisons of equal conditions, alone; and share of families of six with any."""
    alone = wrong = 0
    for _ in range(times):
        pairs = [NULLS[name](rng, seeds) for _ in range(FAMILY)]
        made = {
            str(k): s.compare(dict(enumerate(a.tolist())), dict(enumerate(b.tolist())))
            for k, (a, b) in enumerate(pairs)
        }
        alone += sum(one.supported for one in made.values())
        wrong += any(one.supported for one in s.family(made).values())
    return alone / times / FAMILY, wrong / times


def lines(times: int, rng: np.random.Generator) -> Iterator[str]:
    """The page, line by line."""
    yield "| scores of seeds | " + " | ".join(f"{n} seeds" for n in SIZES) + " | a group unseen |"
    yield "|---|" + "---|" * (len(SIZES) + 1)
    for population in POPULATIONS:
        found = [coverage(population, n, times, rng) for n in SIZES]
        cells = [f"{100 * share:.1f}% (width {width:.2g})" for share, width, _ in found]
        unseen = " / ".join(f"{100 * missed:.1f}%" for *_, missed in found) if population.hidden else ""
        yield f"| {population.name} | {' | '.join(cells)} | {unseen} |"
    for name, measure in (
        ("retained fraction of 0.5 (Fieller)", fraction_coverage),
        ("probability of improvement", improvement_coverage),
    ):
        yield f"| {name} | {' | '.join(f'{100 * measure(n, times, rng):.1f}%' for n in SIZES)} | |"
    yield HIDDEN
    yield "| best of | reported on the other half of 10 seeds | of 30 seeds | on the 10 seeds it was chosen on |"
    yield "|---|---|---|---|"
    for names in (4, 9, 16):
        (ten, same), (thirty, _) = (selection_coverage(names, n, times // 2, rng) for n in (10, 30))
        yield f"| {names} | {100 * ten:.1f}% | {100 * thirty:.1f}% | {100 * same:.1f}% |"
    yield CLAIMS
    yield "| equal conditions | 10 seeds | 30 seeds | any of 6, 10 seeds | any of 6, 30 seeds |"
    yield "|---|---|---|---|---|"
    for name in NULLS:
        # counting all signs of 30 pairs takes longer
        found = [false_positives(name, n, times // share, rng) for n, share in ((10, 4), (30, 20))]
        rates = [alone for alone, _ in found] + [wrong for _, wrong in found]
        yield f"| {name} | {' | '.join(f'{100 * rate:.1f}%' for rate in rates)} |"


HEAD = """# Do the intervals cover, and are the claims true?

`python -m benchmarks.statistics` simulates seeds from known populations and applies the project's own functions
(`agentcomm/statistics/`). TIMES samples each; the standard error of a coverage of 95% is ERROR points.

## Coverage of 95% intervals of the mean

"""
HIDDEN = """
The column on the right is the share of samples (5 / 10 / 30 seeds) in which a group of seeds is not represented at all.
No interval can know of a group that no seed has reached: `unseen_share` says how large such a group may be (45% of
trainings for 5 seeds, 26% for 10, 10% for 30). Where the groups lie at the bounds of the score, the exact binomial
interval allows for one; elsewhere intervals miss in these samples. So claims need 10 seeds, and pages show every seed.

## Choosing the best of several

Coverage of 95% intervals of the chosen one, where all are equal:
"""
CLAIMS = """
## False positives

Share of comparisons of equal conditions that are `supported` (at least 10 seeds, exact sign-flip p of at most 5%),
alone and in families of six (Holm: share of families with any):
"""


def main() -> None:
    """Simulate and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=4000, help="samples per number")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    found = []
    for line in lines(asked.times, np.random.default_rng(asked.seed)):
        print(line, flush=True)
        found.append(line)
    error = 100 * (0.95 * 0.05 / asked.times) ** 0.5
    head = HEAD.replace("TIMES", f"{asked.times:,}").replace("ERROR", f"{error:.2f}")
    Path(__file__).with_suffix(".md").write_text(head + "\n".join(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
