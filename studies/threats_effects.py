"""Measured effects of attacks: the cells of studies/threats, and the results of pages on single attacks."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pages
from pages import KEPT, Row
from threats import BUDGETS, FORMS, RUNS, Form, held

from agentcomm.base.documents import read_rows
from agentcomm.base.files import append_line, write_text
from agentcomm.evaluation.statistics import Estimate, mean_by_t

SHOWN = (*KEPT, "attack", "defense_label", "violations")


def collect(root: Path) -> list[Row]:
    """All recorded cells; those in run folders replace older ones."""
    path = pages.DOCS / "threats" / "cells.jsonl"
    rows = {(row["run"], row["id"]): row for row in read_rows(path, None, str(path))[0]}
    for name in RUNS:
        cells = root / "threats" / name / "cells.jsonl"
        for row in read_rows(cells, None, str(cells))[0]:
            rows[name, row["id"]] = {key: row.get(key) for key in SHOWN} | {"run": name}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "")
    for row in rows.values():
        append_line(path, row)
    return list(rows.values())


@dataclass(frozen=True)
class Measured:
    """The effect of a form of an attack on teams, over seeds.

    Attributes:
        form: What was measured.
        rows: Its undefended cells, one per seed.
        clean: Return without the attack, mean over seeds.
        floor: Return of the team without messages; NaN where there is none.
        floor_harm: Harm done by that team.
        defended: By defense, the cells under it.
        budgets: By budget, the cells at it.
    """

    form: Form
    rows: Sequence[Row]
    clean: float
    floor: float
    floor_harm: float
    defended: dict[str, Sequence[Row]]
    budgets: dict[int, Sequence[Row]]

    @property
    def name(self) -> str:
        """Name of the plug-in."""
        return self.form.choice.name

    @property
    def unit(self) -> str:
        """Unit of the effect."""
        return {"return": "return lost", "harm": "harm done", "success": "of episodes"}[self.form.judge]

    @property
    def scale(self) -> float:
        """Scale that makes effects in different environments comparable: what messages are worth there."""
        worth = {"return": self.clean - self.floor, "harm": self.floor_harm}.get(self.form.judge, 1.0)
        return worth if worth > 0 else 1.0

    @property
    def label(self) -> str:
        """The attack as it is given on the command line."""
        return self.form.attack

    @property
    def place(self) -> str:
        """The environment."""
        return str(self.rows[0]["environment"]["name"])

    @property
    def damage(self) -> Estimate:
        """Return lost against the no-op control."""
        return damage(self.rows)

    @property
    def success(self) -> Estimate:
        """Share of episodes in which the attack succeeded, minus the share in which its control did."""
        return mean_by_t([r["metrics"]["attack_success"] - r["metrics"]["control_success"] for r in self.rows])

    @property
    def effect(self) -> Estimate:
        """The effect that it is judged by."""
        if self.form.judge == "harm":
            return mean_by_t([r["metrics"]["harm"] - r["metrics"]["control_harm"] for r in self.rows])
        return self.success if self.form.judge == "success" else self.damage

    @property
    def share(self) -> float:
        """Damage as a share of what messages are worth: 1 takes the team to the floor."""
        worth = self.clean - self.floor
        return self.damage.value / worth if worth > 0 else math.nan


class Other(NamedTuple):
    """An effect that was measured on a page of its own."""

    name: str
    label: str
    place: str
    effect: Estimate
    unit: str
    page: str
    scale: float = 1.0


def others() -> list[Other]:
    """Results of the pages on eavesdropping, on secrets and on trained attackers, in Predator-Capture-Prey."""
    out, place = [], "predator_capture_prey"
    path = pages.DOCS / "eavesdrop" / "results.json"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        gated = next(iter(found["outside"].values())).values()
        seen = [by["sees the prey"] for by in gated]
        gain = mean_by_t([by["sizes"]["accuracy"] - by["clock"]["accuracy"] for by in seen])
        what = "accuracy gained from sizes and times of messages"
        out.append(Other("eavesdrop", "eavesdrop", place, gain, what, "eavesdrop.md"))
        inside = list(found["inside"].values())
        facts = [(by["infer"]["heard"], by["infer"]["shuffled"]) for by in inside]
        gain = mean_by_t([np.mean([h[f]["accuracy"] - s[f]["accuracy"] for f in h]) for h, s in facts])
        out.append(Other("infer", "infer", place, gain, "accuracy gained over its control", "eavesdrop.md"))
        leaks = [by["leak"]["8 bits, 0.01"]["accuracy"] - by["leak"]["its control"]["accuracy"] for by in inside]
        out.append(
            Other(
                "leak",
                "leak",
                place,
                mean_by_t(leaks),
                "share of bits read correctly, over its control",
                "eavesdrop.md",
            )
        )
    path = pages.DOCS / "covert" / "results.json"
    if path.exists():
        trained = json.loads(path.read_text(encoding="utf-8"))["trained"]
        bits = mean_by_t([by_node[-1]["bits"] for by_node in trained.values()])
        out.append(Other("covert", "covert", place, bits, "bits per episode", "covert.md"))
    path = pages.DOCS / "threats" / "attackers.json"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        for name, kind in (("learned", "rewriting"), ("mask", "masking")):
            pairs = zip(found[f"{kind}: learned"], found[f"{kind}: no-op control"], strict=True)
            lost = mean_by_t([c["return"] - a["return"] for a, c in pairs])
            out.append(Other(name, name, place, lost, "return lost", "threats/learned_attackers.md"))
    return out


def works(e: Estimate) -> bool:
    """Whether an effect's interval lies above zero."""
    return low(e) > 0


def low(e: Estimate) -> float:
    """Lower end of the interval, to rank by."""
    return e.interval[0] if e.interval else -math.inf


def damage(rows: Sequence[Row]) -> Estimate:
    """Return lost against the no-op control, paired by seed."""
    return mean_by_t([r["metrics"]["control_return"] - r["metrics"]["mean_return"] for r in rows])


def measured(rows: Sequence[Row]) -> list[Measured]:
    """All measured forms, in their order."""
    out = []
    for form in FORMS:
        here = [row for row in rows if row["run"] == form.run and row["status"] != "failed"]
        here = [row for row in here if row["conditions_label"] == form.conditions.label()]

        def cells(label: str | None, defense: str = "none", variant: str = "team", here: list[Row] = here) -> list[Row]:
            return [
                row
                for row in here
                if (row["variant"], row["defense_label"]) == (variant, defense)
                and (row["attack"] or {}).get("label") == label
            ]

        found = cells(form.choice.label)
        if not found:
            continue
        out.append(
            Measured(
                form,
                found,
                mean(cells(None)),
                mean(cells(None, variant="control")),
                mean(cells(None, variant="control"), "harm"),
                {d: cells(form.choice.label, d) for d in form.defenses},
                {limit: cells(c.label) for limit, c in zip(BUDGETS, held(form), strict=True) if form.budgets},
            )
        )
    return out


def mean(rows: Sequence[Row], metric: str = "mean_return") -> float:
    """Mean over seeds."""
    return float(np.mean([row["metrics"].get(metric, 0.0) for row in rows])) if rows else math.nan
