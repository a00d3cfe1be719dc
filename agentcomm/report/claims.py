"""The claims of a page: everything that it may state in words.

The worth of messages is tested first, and by itself. Only if it is supported, the other claims are: one family, with p
adjusted by Holm. In this fixed sequence (Maurer, Hothorn and Lehmacher 1995), a page of a team to which messages are
worth nothing makes a false claim with at most 5%, and so does any other. A claim needs ten seeds and an adjusted p of
at most 5%. Without it, the page shows numbers only.
"""

from __future__ import annotations

import math
from typing import Literal

from agentcomm.report.effects import averted, effect, undefended
from agentcomm.report.results import NONE, Results
from agentcomm.statistics import CLAIM_SEEDS, SIGNIFICANT, Selected, compare, family, select_and_report


class Claims:
    """The family of claims about a run.

    Args:
        results: All cells of the run.

    Attributes:
        tested: Comparisons with their adjusted p, by claim.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        zero = dict.fromkeys(results.seeds, 0.0)
        found = {}
        for attack in undefended(results):
            found[f"damage of {attack}"] = compare(effect(results, attack)["damage"].by_seed, zero)
        for defense in results.defenses:
            if defense != NONE:
                found[f"tax of {defense}"] = results.compare(results.clean, results.scores(None, defense))
                found[f"help of {defense}"] = compare(averted(results, defense, "mean"), zero)
        self.tested = family({name: test for name, test in found.items() if test.seeds})
        if results.worth_test.seeds:
            self.tested["worth"] = results.worth_test

    def _holds(self, claim: str) -> bool:
        test = self.tested.get(claim)
        allowed = "worth" not in self.tested or self.results.valued
        return test is not None and allowed and test.supported and test.difference.value > 0

    @property
    def worth(self) -> bool:
        """Whether messages are worth something to the team."""
        return self._holds("worth")

    def costs(self, attack: str) -> bool:
        """Whether an undefended attack makes the score worse."""
        return self._holds(f"damage of {attack}")

    def taxes(self, defense: str) -> bool:
        """Whether a defense makes the score worse without attacks."""
        return self._holds(f"tax of {defense}")

    def helps(self, defense: str) -> bool:
        """Whether a defense averts damage, on average over the attacks."""
        return self._holds(f"help of {defense}")

    @property
    def supported(self) -> int:
        """Number of supported claims."""
        return sum(self._holds(claim) for claim in self.tested)

    @property
    def possible(self) -> bool:
        """Whether the seeds could support a claim at all: the smallest exact p of n pairs is 2^(1-n)."""
        seeds = len(self.results.seeds)
        others = len(self.tested.keys() - {"worth"})
        return seeds >= CLAIM_SEEDS and 2.0 ** (1 - seeds) * others <= SIGNIFICANT

    def worst_attack(self) -> Selected | None:
        """The undefended attack of the largest damage, chosen on half of the seeds and measured on the others."""
        damage = {a: effect(self.results, a)["damage"].by_seed for a in undefended(self.results)}
        return _select({a: d for a, d in damage.items() if a in self.results.shown}, "higher")

    def best_defense(self, attack: str) -> Selected | None:
        """The defense with the least damage under an attack, chosen on half of the seeds and measured on the others."""
        defenses = [d for d in self.results.defenses if d != NONE]
        return _select({d: effect(self.results, attack, d)["damage"].by_seed for d in defenses}, "lower")


def _select(candidates: dict[str, dict[int, float]], prefer: Literal["higher", "lower"]) -> Selected | None:
    """A choice among candidates with a value in every one of the same seeds, ten or more; None without one."""
    whole = {name: {s: v for s, v in by_seed.items() if math.isfinite(v)} for name, by_seed in candidates.items()}
    most = max((len(by_seed) for by_seed in whole.values()), default=0)
    whole = {name: by_seed for name, by_seed in whole.items() if len(by_seed) == most}
    return select_and_report(whole, prefer) if whole and most >= CLAIM_SEEDS else None
