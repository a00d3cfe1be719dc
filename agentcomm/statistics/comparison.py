"""Comparisons of two conditions, paired by seed, and families of them.

Both sides were measured on the same seeds and episodes (common random numbers), so differences are taken per seed.
Words such as "measurably", "costs" or "helps" need :attr:`Comparison.supported`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from agentcomm.statistics.estimates import REAL, Estimate, Scale, aligned, estimate
from agentcomm.statistics.tests import COUNTED, holm, sign_flip

CLAIM_SEEDS = 10
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """The difference between two conditions over the seeds of both.

    Attributes:
        difference: Mean of ours - theirs, with its interval.
        p: Exact sign-flip p of no difference; NaN without seeds.
        seeds: Number of pairs.
        adjusted: p adjusted for the family of claims (Holm); None before :func:`family` has seen it.
    """

    difference: Estimate
    p: float
    seeds: int
    adjusted: float | None = None

    @property
    def supported(self) -> bool:
        """Whether a claim in words may rest on it: at least ``CLAIM_SEEDS`` pairs, and adjusted p <= 0.05."""
        p = self.p if self.adjusted is None else self.adjusted
        return self.seeds >= CLAIM_SEEDS and p <= SIGNIFICANT


def compare(
    ours: Mapping[int, float],
    theirs: Mapping[int, float],
    scale: Scale = REAL,
    rng: np.random.Generator | None = None,
) -> Comparison:
    """Compare two conditions, paired by seed; seeds of only one side, or failed on one, are excluded and counted.

    Args:
        ours: Score by seed.
        theirs: Score by seed.
        scale: The range of the scores.
        rng: Randomness of the signs with more than 40 pairs; by default a generator of its own, seeded with 0.
    """
    table = aligned(ours, theirs)
    differences = table[:, 0] - table[:, 1]
    found = estimate(differences, scale.of_differences)
    if found.seeds > COUNTED and rng is None:
        rng = np.random.default_rng(0)
    return Comparison(found, sign_flip(differences, rng), found.seeds)


def family(comparisons: Mapping[str, Comparison]) -> dict[str, Comparison]:
    """The comparisons of one page or table by name, their p adjusted for being made together (Holm).

    Only comparisons with enough seeds for a claim count as tests; the others cannot support one anyway.
    """
    tests = {name: made for name, made in comparisons.items() if made.seeds >= CLAIM_SEEDS}
    adjusted = dict(zip(tests, holm([made.p for made in tests.values()]), strict=True))
    return {name: replace(made, adjusted=adjusted.get(name, made.p)) for name, made in comparisons.items()}
