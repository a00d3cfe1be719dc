"""Retained: what attacks leave of the value of communication, attack by attack and at worst; and what defenses cost.

All are computed from the world's score. The floor is the team that was trained again without messages, so the value of
communication is what a team gains by talking at all. A team that drops its messages but was trained with them is often
below that floor: attacks that silence it can therefore retain less than nothing.
"""

from __future__ import annotations

from typing import ClassVar

from agentcomm.contracts.metric import Group, SuiteMetric
from agentcomm.contracts.suite import Row, Suite

AGARWAL = "Agarwal et al., Deep RL at the edge of the statistical precipice, NeurIPS 2021, section 4"
LOWE = "Lowe et al., On the pitfalls of measuring emergent communication, AAMAS 2019, section 4"
TUNING = "Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of attacks, ICML 2020"
ADAPTIVE = "Tramer et al., On adaptive attacks to adversarial example defenses, NeurIPS 2020"
INFORMED = "defense"  # knowledge of attacks that adapt to the defense


class RetainedFraction(SuiteMetric):
    """Share of the value of communication that is left under attack, averaged over attacks; may be below 0.

    Attacks that are aimed at the defenses, and evaluated under these only, do not count in the average.
    """

    better, source = "higher", AGARWAL
    group: ClassVar[Group] = "retained"

    def by_attack(self, suite: Suite) -> dict[str, float]:
        """(attacked - floor) / (clean - floor); none if the team is not better than the floor."""
        clean, floor = suite.value(suite.clean), suite.value(suite.floor)
        if clean is None or floor is None or clean <= floor:
            return {}
        scores = {label: suite.value(row) for label, row in suite.attacked.items()}
        return {label: (score - floor) / (clean - floor) for label, score in scores.items() if score is not None}

    def over(self, suite: Suite) -> float | None:
        """The mean over the attacks that are evaluated with any defenses."""
        shares = [share for label, share in self.by_attack(suite).items() if label not in suite.aimed]
        return sum(shares) / len(shares) if shares else None


class WorstRetainedFraction(RetainedFraction):
    """Share of the value of communication that is left under the attack that leaves least."""

    source = TUNING

    def over(self, suite: Suite) -> float | None:
        """The smallest fraction."""
        return min(self.by_attack(suite).values(), default=None)


class WorstDamage(SuiteMetric):
    """What the attack that does most harm takes from the score."""

    better, source = "lower", TUNING
    group: ClassVar[Group] = "retained"

    def by_attack(self, suite: Suite) -> dict[str, float]:
        """Clean score minus that under each attack, in units of the score; positive is worse for the team."""
        losses = {label: _gain(suite, suite.clean, row) for label, row in suite.attacked.items()}
        return {label: loss for label, loss in losses.items() if loss is not None}

    def over(self, suite: Suite) -> float | None:
        """The largest damage."""
        return max(self.by_attack(suite).values(), default=None)


class ValueOfCommunication(SuiteMetric):
    """What the team gains over one that was trained again without messages, in units of the score."""

    better, source = "higher", LOWE
    group: ClassVar[Group] = "task"

    def over(self, suite: Suite) -> float | None:
        """The gain of the clean cell."""
        return _gain(suite, suite.clean, suite.floor)


class ValueOfMessages(SuiteMetric):
    """What the undefended team loses if all its messages are dropped, in units of the score."""

    better, source = "neither", LOWE
    group: ClassVar[Group] = "task"

    def over(self, suite: Suite) -> float | None:
        """The loss."""
        own, silent = suite.value(suite.undefended), suite.silent
        return None if own is None or silent is None else own - silent


class DefenseTax(SuiteMetric):
    """What the defenses cost the team without an attack, in units of the score."""

    better, source = "lower", ADAPTIVE
    group: ClassVar[Group] = "task"

    def over(self, suite: Suite) -> float | None:
        """The loss; None without defenses."""
        return None if suite.defenses == "none" else _gain(suite, suite.undefended, suite.clean)


class AdaptiveGain(SuiteMetric):
    """How much more the worst attack that knows the defense takes than the worst that does not, in units of the score.

    Attacks know the defense if they are aimed at it (``Defense.adaptive``), or their threat model says so.

    Below 0, the attacks that should adapt do not: their search failed, so that they say nothing about the defense.
    """

    better, source = "lower", ADAPTIVE
    group: ClassVar[Group] = "adaptive"

    def over(self, suite: Suite) -> float | None:
        """The difference; None without defenses, or without attacks of either kind."""
        damage: dict[bool, list[float]] = {True: [], False: []}
        for row in suite.attacked.values():
            loss = _gain(suite, suite.clean, row)
            if loss is not None:
                knows = (row["attack"].get("threat") or {}).get("knowledge")
                damage[bool(row.get("adaptive")) or knows == INFORMED].append(loss)
        if suite.defenses == "none" or not all(damage.values()):
            return None
        return max(damage[True]) - max(damage[False])


def _gain(suite: Suite, better: Row | None, worse: Row | None) -> float | None:
    """By how much the first cell is better than the second, in units of the score; None if either is not known."""
    scores = suite.value(better), suite.value(worse)
    return None if scores[0] is None or scores[1] is None else scores[0] - scores[1]
