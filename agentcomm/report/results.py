"""Results by attack and defense: cells aggregated over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np

from agentcomm.report.load import number
from agentcomm.report.measures import Measure, declared, scale_of
from agentcomm.statistics import REAL, Comparison, Estimate, Scale, compare, estimate, family, retained_fraction

NONE = "none"
NOT_ESTABLISHED = "it is not established that messages are worth anything to the team"

Scores = dict[int, float]
How = Literal["worst", "mean"]


class Results:
    """All cells of a run, by variant, attack and defense.

    Args:
        cells: Rows of cells.jsonl, all of the same episodes.
        own: Label of the conditions of the run's own config.

    Attributes:
        attacks: Labels of attacks in order of appearance, without those that are only aimed at some of the defenses.
        aimed: By label of defenses, the attacks that are aimed at them.
        records: The attack of a row, by label.
        defenses: Labels of defense sets, ``none`` first.
        seeds: Seeds of the team, including those of failed cells.
        changed: Rows of cells under other conditions.
        failed: Rows of cells that failed.
        inconclusive: Rows of cells whose attack had no effect on any message; they have no score.
        primary: The measure by which teams are compared: the score that the environment declares.
    """

    def __init__(self, cells: Sequence[dict[str, Any]], own: str = "") -> None:
        self._rows: dict[tuple[str, str | None, str], dict[int, dict[str, Any]]] = {}
        self.records: dict[str, dict[str, Any]] = {}
        self.aimed: dict[str, list[str]] = {}
        attacks: dict[str, None] = {}
        defenses: dict[str, None] = {NONE: None}
        usual = _usual(cells, own)
        self.changed = [row for row in cells if _conditions(row) != usual]
        cells = [row for row in cells if _conditions(row) == usual]
        for row in cells:
            record: dict[str, Any] | None = row.get("attack")
            label = None if record is None else str(record["label"])
            defense = str(row.get("defense_label") or NONE)
            if row["variant"] == "team":
                defenses[defense] = None
                if label is not None and record is not None:
                    self.records[label] = record
                    if not row.get("adaptive"):
                        attacks[label] = None
                    elif label not in self.aimed.setdefault(defense, []):
                        self.aimed[defense].append(label)
            self._rows.setdefault((row["variant"], label, defense), {})[row["seed"]] = row
        self.attacks = list(attacks)
        self.defenses = list(defenses)
        self.seeds = sorted({row["seed"] for row in cells if row["variant"] == "team"})
        every = [row for rows in self._rows.values() for row in rows.values()]
        self.failed = [row for row in every if row.get("status") not in ("ok", "inconclusive")]
        self.inconclusive = [row for row in every if row.get("status") == "inconclusive" and row.get("attack")]
        self.primary: Measure = declared(every)

    def rows(self, attack: str | None, defense: str, variant: str = "team") -> list[dict[str, Any]]:
        """Rows of one cell, one per seed."""
        return list(self._rows.get((variant, attack, defense), {}).values())

    def scores(self, attack: str | None, defense: str = NONE, key: str = "", variant: str = "team") -> Scores:
        """A metric by seed, NaN where the cell failed."""
        key = key or self.primary.key
        return {
            row["seed"]: number((row.get("metrics") or {}).get(key)) if row.get("status") == "ok" else math.nan
            for row in self.rows(attack, defense, variant)
        }

    def assumes(self, attack: str) -> dict[str, Any]:
        """What the effect of an attack presupposes of its victims; empty for most attacks."""
        found = self.records.get(attack, {}).get("assumes")
        return {name: value for name, value in found.items() if value} if isinstance(found, Mapping) else {}

    @property
    def shown(self) -> list[str]:
        """Attacks that assume nothing of their victims: only those count in what is said about all attacks."""
        return [attack for attack in self.attacks if not self.assumes(attack)]

    @property
    def clean(self) -> Scores:
        """Primary score by seed of the team without attacks and defenses."""
        return self.scores(None)

    @property
    def floor(self) -> Scores:
        """Primary score by seed of the team retrained without messages."""
        return self.scores(None, variant="control")

    def estimate(self, scores: Scores, key: str = "") -> Estimate:
        """Mean over seeds of a metric, with its interval; of the primary score if none is named."""
        return spread(scores, self.primary.scale if key in ("", self.primary.key) else scale_of(key))

    def gains(self, ours: Scores, theirs: Scores) -> Scores:
        """Improvement of ``ours`` over ``theirs`` (positive = better) in each seed of both."""
        sign = -1 if self.primary.better == "lower" else 1
        return {seed: sign * (ours[seed] - theirs[seed]) for seed in ours if seed in theirs}

    def compare(self, ours: Scores, theirs: Scores) -> Comparison:
        """Improvement of ``ours`` over ``theirs`` (positive = better), paired by seed."""
        gains = self.gains(ours, theirs)
        return compare(gains, dict.fromkeys(gains, 0.0))

    def worth(self) -> tuple[Scores, Scores, str]:
        """Scores of the team and of the one retrained without messages, decoded alike, and how.

        Of greedy and sampled decisions, those count with which the improvement is smaller: teams without messages often
        do better with sampled actions, and their greedy ones run in circles.
        """
        pairs = [(self.reference(rule), self.reference(rule, "control"), rule) for rule in ("greedy", "sampled")]
        pairs.append((self.clean, self.floor, self.decisions))
        by_value = [(self.compare(ours, theirs).difference.value, n) for n, (ours, theirs, _) in enumerate(pairs)]
        known = [(value, n) for value, n in by_value[:2] if math.isfinite(value)]
        return pairs[min(known)[1] if known else 2]

    @property
    def decisions(self) -> str:
        """How the team of the main grid decides: greedy or sampled."""
        return next((str(row["decisions"]) for row in self.rows(None, NONE) if row.get("decisions")), "greedy")

    def reference(self, name: str, variant: str = "team") -> Scores:
        """Primary score by seed of a reference (``agentcomm/evaluation/references.py``); NaN where there is none."""
        return {
            row["seed"]: number(((row.get("references") or {}).get(name) or {}).get(self.primary.key))
            for row in self.rows(None, NONE, variant)
        }

    def learned(self) -> dict[int, bool]:
        """By seed, whether the team does better than before training; without seeds for which it is not known."""
        found = {row["seed"]: (row.get("references") or {}).get("learned") for row in self.rows(None, NONE)}
        return {seed: bool(about.get("learned")) for seed, about in found.items() if isinstance(about, dict)}

    @property
    def foreign(self) -> bool:
        """Whether the team is a callable that was trained elsewhere or written by hand."""
        return any("foreign" in (row.get("training") or {}) for row in self.rows(None, NONE))

    @property
    def judged(self) -> bool:
        """Whether anything is said about messages and attacks: not if no team has learned."""
        learned = self.learned()
        return not learned or any(learned.values())

    @cached_property
    def worth_test(self) -> Comparison:
        """The test of what messages are worth: by itself, before anything else is tested."""
        return family({"worth": self.compare(*self.worth()[:2])})["worth"]

    @property
    def valued(self) -> bool:
        """Whether it is established that messages are worth something to the team."""
        return self.worth_test.supported and self.worth_test.difference.value > 0

    def retained(self, scores: Scores) -> Estimate:
        """The share of the worth of messages that some scores keep; unknown unless that worth is established.

        Page, comparison and command line show no other share.
        """
        if not self.valued:
            return Estimate(math.nan, None, 0, 0, NOT_ESTABLISHED)
        return retained_fraction(scores, self.clean, self.floor)

    def idle(self, attack: str, defense: str) -> set[int]:
        """Seeds in which an attack had no effect on any message."""
        return {row["seed"] for row in self.rows(attack, defense) if row.get("status") == "inconclusive"}

    def over_attacks(self, defense: str, how: How, key: str = "") -> Scores:
        """Per seed, the worst or mean score over all attacks; NaN for a seed that lacks any of them.

        Attacks that had no effect on any message are excluded, and so are those that assume something of their victims.
        """
        measure = self.primary if key in ("", self.primary.key) else Measure(key, key, "", "higher", 2)
        columns = [(self.idle(a, defense), self.scores(a, defense, measure.key)) for a in self.shown]
        out = {}
        for seed in sorted({seed for _, column in columns for seed in column}):
            scores = [column.get(seed, math.nan) for idle, column in columns if seed not in idle]
            if scores:
                out[seed] = measure.worst(scores) if how == "worst" else float(np.mean(scores))
        return out


def spread(values: Scores, scale: Scale = REAL) -> Estimate:
    """Mean over seeds; the scale is ignored if a value lies beyond it, as in files that something else has written."""
    inside = all(scale.low <= value <= scale.high for value in values.values() if math.isfinite(value))
    return estimate(values, scale if inside else REAL)


def _usual(cells: Sequence[dict[str, Any]], own: str) -> str:
    """The label of the conditions of the main grid.

    The run's own, the default ones, or those of the first cell: the first of these under which attacks and the floor
    were evaluated, so that a look at the clean team under other conditions moves no grid; otherwise, the first at all.
    """
    labels = dict.fromkeys(_conditions(row) for row in cells)
    attacked = {_conditions(row) for row in cells if row.get("attack")}
    floors = {_conditions(row) for row in cells if row["variant"] == "control"}
    order = [label for label in dict.fromkeys([own, "", *labels]) if label in labels]
    full = attacked & floors if floors else attacked
    return next((label for label in order if label in full), order[0] if order else "")


def _conditions(row: dict[str, Any]) -> str:
    return str(row.get("conditions_label") or "")
