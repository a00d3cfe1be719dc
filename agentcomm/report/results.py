"""Results by attack and defense: cells aggregated over seeds, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from agentcomm.evaluation.statistics import Estimate, estimate, paired_difference, retained_fraction
from agentcomm.report.load import number

NONE = "none"
WORST = "worst of the attacks"
AVERAGE = "mean of the attacks"
# Differences below this share of the clean score are negligible, whatever their interval: with three seeds the interval
# is only their range, which excludes zero by chance in one of four cases.
NEGLIGIBLE = 0.02
NEGLIGIBLE_ALONE = 0.05  # the same for too few seeds for an interval

Scores = dict[int, float]


@dataclass(frozen=True)
class Measure:
    """A metric by which cells are scored.

    Attributes:
        key: Name of the metric.
        label: Name in the report.
        unit: Unit behind the number.
        better: Which direction is better.
        digits: Decimals to print.
    """

    key: str
    label: str
    unit: str
    better: Literal["lower", "higher"]
    digits: int

    def worst(self, scores: Sequence[float]) -> float:
        """The worst of some scores; NaN if any is unknown."""
        if not scores or any(math.isnan(s) for s in scores):
            return math.nan
        return max(scores) if self.better == "lower" else min(scores)


STEPS = Measure("mean_steps", "Steps", "steps", "lower", 1)
SUCCESS = Measure("success", "Success", "success", "higher", 2)
RETURN = Measure("mean_return", "Return", "return", "higher", 2)
KNOWN = {measure.key: measure for measure in (STEPS, SUCCESS, RETURN)}


@dataclass(frozen=True)
class CellSummary:
    """The results of one attack (or none) under one set of defenses, over all seeds.

    Attributes:
        attack: Label of the attack, None for no attack.
        defense: Label of the defenses.
        scores: Estimate by measure key.
        retained: Retained fraction.
        by_seed: Primary score of each seed, NaN where it failed.
        failed: Number of seeds whose cell failed.
        errors: Their distinct error messages.
        ledger: Counts, summed over seeds.
        episodes: Number of episodes, summed over seeds.
        summary: Whether it aggregates all attacks of a column.
    """

    attack: str | None
    defense: str
    scores: dict[str, Estimate]
    retained: Estimate
    by_seed: Scores
    failed: int = 0
    errors: tuple[str, ...] = ()
    ledger: dict[str, int] = field(default_factory=dict)
    episodes: int = 0
    summary: bool = False

    @property
    def status(self) -> Literal["ok", "failed", "inconclusive", "missing"]:
        """``ok`` if any seed has a score, ``missing`` if it was not evaluated, otherwise why it has no score."""
        if not self.by_seed:
            return "missing"
        if any(not math.isnan(v) for v in self.by_seed.values()):
            return "ok"
        if self.summary:
            return "missing"
        return "failed" if self.failed else "inconclusive"


class Results:
    """All cells of a run, by variant, attack and defense.

    Args:
        cells: Rows of cells.jsonl.

    Attributes:
        attacks: Labels of attacks in order of appearance.
        defenses: Labels of defense sets, ``none`` first.
        seeds: Seeds of the team, including those of failed cells.
        changed: Rows of cells under other conditions, by their differences.
        failed: Rows of cells that failed.
        inconclusive: Rows of cells whose attack had no effect on any message; they have no score.
        primary: The measure of retained fractions and of the summary: the score that the environment declares.
    """

    def __init__(self, cells: Sequence[dict[str, Any]]) -> None:
        self._rows: dict[tuple[str, str | None, str], dict[int, dict[str, Any]]] = {}
        self.records: dict[str, dict[str, Any]] = {}
        attacks: dict[str, None] = {}
        defenses: dict[str, None] = {NONE: None}
        changed: dict[str, list[dict[str, Any]]] = {}
        usual = _usual(cells)
        for row in cells:
            if what := _change(row, usual):
                changed.setdefault(what, []).append(row)
        self.changed = changed
        cells = [row for row in cells if not _change(row, usual)]
        for row in cells:
            record: dict[str, Any] | None = row.get("attack")
            label = None if record is None else str(record["label"])
            defense = str(row.get("defense_label") or NONE)
            if row["variant"] == "team":
                defenses[defense] = None
                if label is not None and record is not None:
                    attacks[label] = None
                    self.records[label] = record
            self._rows.setdefault((row["variant"], label, defense), {})[row["seed"]] = row
        self.attacks = list(attacks)
        self.defenses = list(defenses)
        self.seeds = sorted({row["seed"] for row in cells if row["variant"] == "team"})
        every = [row for rows in self._rows.values() for row in rows.values()]
        self.failed = [row for row in every if row.get("status") not in ("ok", "inconclusive")]
        self.inconclusive = [row for row in every if row.get("status") == "inconclusive" and row.get("attack")]
        self.primary = _declared(every)

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

    @property
    def clean(self) -> Scores:
        """Primary score by seed of the team without attacks and defenses."""
        return self.scores(None)

    @property
    def floor(self) -> Scores:
        """Primary score by seed of the team retrained without messages."""
        return self.scores(None, variant="control")

    def estimate(self, scores: Scores) -> Estimate:
        """Mean over seeds with its interval. All estimates share the same resamples, so that they are comparable."""
        return estimate(list(scores.values()), _rng())

    def gain(self, ours: Scores, theirs: Scores) -> Estimate:
        """Improvement of ``ours`` over ``theirs`` (positive = better), paired by seed."""
        low_is_good = self.primary.better == "lower"
        return paired_difference(theirs, ours, _rng()) if low_is_good else paired_difference(ours, theirs, _rng())

    def value_of_communication(self) -> Estimate:
        """Improvement of the team over the one retrained without messages, both decoded alike.

        Of greedy and sampled decisions, those count with which the improvement is smaller: teams without messages often
        do better with sampled actions, and their greedy ones run in circles.
        """
        values = [self.gain(self.reference(rule), self.reference(rule, "control")) for rule in ("greedy", "sampled")]
        known = [value for value in values if value.known]
        return min(known, key=lambda value: value.value) if known else self.gain(self.clean, self.floor)

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

    def retained(self, scores: Scores) -> Estimate:
        """Retained fraction of some scores."""
        return retained_fraction(scores, self.clean, self.floor, _rng())

    def recovered(self, attack: str, defense: str) -> Estimate:
        """Share of an attack's damage that a defense recovers."""
        return retained_fraction(self.scores(attack, defense), self.clean, self.scores(attack), _rng())

    def cell(self, attack: str | None, defense: str) -> CellSummary:
        """One attack under one set of defenses."""
        rows = self.rows(attack, defense)
        by_seed = self.scores(attack, defense)
        ledger: dict[str, int] = {}
        for row in rows:
            for name, count in (row.get("ledger") or {}).items():
                if not math.isnan(number(count)):
                    ledger[str(name)] = ledger.get(str(name), 0) + int(count)
        bad = [row for row in rows if row.get("status") not in ("ok", "inconclusive")]
        return CellSummary(
            attack=attack,
            defense=defense,
            scores={m.key: self.estimate(self.scores(attack, defense, m.key)) for m in (self.primary, SUCCESS)},
            retained=self.retained(by_seed),
            by_seed=by_seed,
            failed=len(bad),
            errors=tuple(dict.fromkeys(str(row.get("error") or "no error recorded") for row in bad)),
            ledger=ledger,
            episodes=sum(int(row.get("episodes") or 0) for row in rows if row.get("status") == "ok"),
        )

    def over_attacks(self, defense: str, how: Literal["worst", "mean"], key: str = "") -> Scores:
        """Per seed, the worst or mean score over all attacks; NaN for a seed that lacks any of them.

        Attacks that had no effect on any message are excluded.
        """
        measure = SUCCESS if key == SUCCESS.key else self.primary
        idle = {(row["seed"], row["attack"]["label"], row.get("defense_label")) for row in self.inconclusive}
        columns = [(attack, self.scores(attack, defense, measure.key)) for attack in self.attacks]
        out = {}
        for seed in sorted({seed for _, column in columns for seed in column}):
            scores = [c.get(seed, math.nan) for attack, c in columns if (seed, attack, defense) not in idle]
            if scores:
                out[seed] = measure.worst(scores) if how == "worst" else float(np.mean(scores))
        return out

    def summary(self, defense: str, how: Literal["worst", "mean"]) -> CellSummary:
        """The attacks of a column, aggregated seed by seed."""
        by_seed = self.over_attacks(defense, how)
        return CellSummary(
            attack=WORST if how == "worst" else AVERAGE,
            defense=defense,
            scores={m.key: self.estimate(self.over_attacks(defense, how, m.key)) for m in (self.primary, SUCCESS)},
            retained=self.retained(by_seed),
            by_seed=by_seed,
            failed=sum(math.isnan(score) for score in by_seed.values()),
            summary=True,
        )

    def negligible(self, difference: Estimate) -> bool:
        """Whether a difference in the primary score cannot be distinguished from zero.

        Judged by its interval over seeds, if there is one, and by its size.
        """
        if not difference.known:
            return True
        clean = self.estimate(self.clean).value
        scale = abs(clean) if math.isfinite(clean) else 1.0
        if difference.interval is None:
            return abs(difference.value) < NEGLIGIBLE_ALONE * scale
        return abs(difference.value) < NEGLIGIBLE * scale or not difference.excludes(0.0)


def _declared(cells: Sequence[dict[str, Any]]) -> Measure:
    """The score that the environment declares; the return where no cell names one."""
    for row in cells:
        score = row.get("score")
        if isinstance(score, dict):
            key, unit = str(score.get("metric")), str(score.get("unit") or score.get("metric"))
            better: Literal["lower", "higher"] = "lower" if score.get("better") == "lower" else "higher"
            return KNOWN.get(key) or Measure(key, key.replace("_", " ").capitalize(), unit, better, 2)
    return RETURN


def _usual(cells: Sequence[dict[str, Any]]) -> str:
    """The label of the conditions of the main grid: the run's own or, if those are missing, the first."""
    labels = [str(row.get("conditions_label") or "") for row in cells]
    return "" if "" in labels else labels[0] if labels else ""


def _change(row: dict[str, Any], usual: str) -> str:
    """The differences of a cell from the main grid, as text; empty for a cell of the grid."""
    label = str(row.get("conditions_label") or "")
    if label == usual:
        return ""
    stages = [row.get("attack") and row["attack"]["label"], row.get("defense_label", NONE)]
    what = [label, *(str(stage) for stage in stages if stage and stage != NONE)]
    if row["variant"] == "control":
        what.append("retrained without messages")
    return ", ".join(what)


def _rng() -> np.random.Generator:
    return np.random.default_rng(20210830)
