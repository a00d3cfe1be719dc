"""Cells of the published runs, and numbers per seed that are taken from them.

A :class:`Series` remembers how it was made of fields of cells, as plain data. Pages record this beside every number
that they print, and tests/studies/recompute.py computes the numbers again from it, without any code of the testbed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from plan import OWN, Conditions, Grid, group_label, label, other_sender, planned

from agentcomm.base.documents import read_rows
from agentcomm.runs.choices import TransportConfig
from agentcomm.runs.conditions import Conditions as Under

RUNS = Path(__file__).parent / "runs"
Row = dict[str, Any]
Key = tuple[str, str, str, str, str]
Spec = dict[str, Any]


def row_of(seed: int, label: str, episodes: int, metrics: Mapping[str, float], defense: str = "none") -> Row:
    """A cell of a team that a script of the studies measured itself, without ``agentcomm evaluate``."""
    about: Row = {"id": f"team-{seed}|{label}", "variant": "team", "seed": seed, "attack": None, "status": "ok"}
    about |= {"defense_label": defense, "conditions_label": label, "episodes": episodes}
    return about | {"metrics": dict(metrics)}


def told(conditions: Conditions | str) -> str:
    """The label of conditions in rows, such as ``decisions sampled``, which may itself be given."""
    return conditions if isinstance(conditions, str) else _told(json.dumps(dict(conditions)))


@cache
def _told(conditions: str) -> str:
    fields = json.loads(conditions)
    if codec := fields.pop("codec", None):
        fields["transport"] = TransportConfig.model_validate({"codec": codec})
    return Under.model_validate(fields).label()


@dataclass(frozen=True)
class Series:
    """A number per seed.

    Attributes:
        spec: How it is made of fields of cells.
        values: By seed; seeds without a scored cell are left out.
    """

    spec: Spec = field(repr=False)
    values: Mapping[int, float]

    def __sub__(self, other: Series | float) -> Series:
        return self._with("sub", other, lambda a, b: a - b)

    def __add__(self, other: Series | float) -> Series:
        return self._with("add", other, lambda a, b: a + b)

    def __mul__(self, other: Series | float) -> Series:
        return self._with("mul", other, lambda a, b: a * b)

    def __truediv__(self, other: Series | float) -> Series:
        return self._with("div", other, lambda a, b: a / b if b else float("nan"))

    def __bool__(self) -> bool:
        return bool(self.values)

    def _with(self, name: str, other: Series | float, combined: Callable[[float, float], float]) -> Series:
        if not isinstance(other, Series):
            values = {seed: combined(value, other) for seed, value in self.values.items()}
            return Series({"op": name, "a": self.spec, "b": other}, _finite(values))
        both = [seed for seed in self.values if seed in other.values]
        values = {seed: combined(self.values[seed], other.values[seed]) for seed in both}
        return Series({"op": name, "a": self.spec, "b": other.spec}, _finite(values))


def across(how: str, series: Sequence[Series]) -> Series:
    """The mean, maximum or minimum of several series, seed by seed.

    Args:
        how: ``mean``, ``max`` or ``min`` over seeds that are in all of them; ``known``: the mean of those that have
            the seed.
        series: At least one.
    """
    by = {"mean": np.mean, "max": np.max, "min": np.min, "known": np.mean}[how]
    combined = set.union if how == "known" else set.intersection
    seeds = sorted(combined(*(set(one.values) for one in series))) if series else []
    known = {seed: [one.values[seed] for one in series if seed in one.values] for seed in seeds}
    values = {seed: float(by(some)) for seed, some in known.items()}
    return Series({"op": how, "of": [one.spec for one in series]}, values)


def _finite(values: Mapping[int, float]) -> dict[int, float]:
    return {seed: value for seed, value in values.items() if np.isfinite(value)}


def capacity(accuracy: Series) -> Series:
    """Bits per binary symbol that is read correctly with this probability: capacity of a binary symmetric channel."""
    values = {seed: 1 + sum(p * np.log2(p) for p in (a, 1 - a) if p > 0) for seed, a in accuracy.values.items()}
    return Series({"op": "capacity", "a": accuracy.spec}, {seed: float(value) for seed, value in values.items()})


class Cells:
    """The cells of published runs.

    Args:
        rows: Rows of ``cells.jsonl`` by run.
    """

    def __init__(self, rows: Mapping[str, Iterable[Row]]) -> None:
        self.by_key: dict[Key, dict[int, Row]] = {}
        for run, some in rows.items():
            for row in some:
                if not row.get("stale"):
                    self.by_key.setdefault(key_of(run, row), {})[row["seed"]] = row

    @classmethod
    def read(cls, root: Path = RUNS) -> Cells:
        """All cells below a folder."""
        files = sorted(root.glob("*/cells.jsonl"))
        return cls({path.parent.name: read_rows(path, None, str(path))[0] for path in files})

    def rows(
        self,
        run: str,
        attack: str | None = None,
        defense: str = "none",
        conditions: Conditions | str = OWN,
        variant: str = "team",
    ) -> dict[int, Row]:
        """The rows of a cell by seed."""
        name = "none" if attack is None else label(attack)
        return self.by_key.get((run, variant, name, group_label(defense), told(conditions)), {})

    def series(
        self,
        run: str,
        of: str,
        attack: str | None = None,
        defense: str = "none",
        conditions: Conditions | str = OWN,
        variant: str = "team",
    ) -> Series:
        """A field of a cell, such as ``effect.damage``, in the rows that are scored.

        Cells that failed, or whose attack could not act, are no zeros: they are left out, and pages name them. Attacks
        by agent 0 are means over agents 0 and 1 (:func:`plan.other_sender`).
        """
        one = self.exactly(run, of, attack, defense, conditions, variant)
        other = None if attack is None else other_sender(run, attack)
        if other is None:
            return one
        return across("known", [one, self.exactly(run, of, other, defense, conditions, variant)])

    def exactly(
        self,
        run: str,
        of: str,
        attack: str | None = None,
        defense: str = "none",
        conditions: Conditions | str = OWN,
        variant: str = "team",
    ) -> Series:
        """As :meth:`series`, for one agent."""
        spec = {"run": run, "variant": variant, "attack": "none" if attack is None else label(attack)}
        spec |= {"defense": group_label(defense), "conditions": told(conditions), "field": of}
        found = self.rows(run, attack, defense, conditions, variant)
        values = {seed: read(row, of) for seed, row in sorted(found.items()) if row["status"] == "ok"}
        return Series(spec, {seed: float(value) for seed, value in values.items() if value is not None})

    def assumes(self, run: str, attack: str, conditions: Conditions = OWN) -> dict[str, Any]:
        """What the effect of an attack presupposes of its victims; empty if nothing."""
        rows = self.rows(run, attack, conditions=conditions).values()
        found = [(row.get("attack") or {}).get("assumes") or {} for row in rows]
        return dict(found[0]) if found else {}

    def named(self, run: str, attack: str, conditions: Conditions = OWN) -> str:
        """An attack as pages name it: its label, and what its effect presupposes."""
        found = self.assumes(run, attack, conditions)
        texts = {name: f"{value:g}" if isinstance(value, int | float) else value for name, value in found.items()}
        told = ", ".join(name if found[name] is True else f"{name} {text}" for name, text in texts.items())
        by = ", by agent 0 or 1" if other_sender(run, attack) else ""
        return f"`{label(attack)}`{by}" + (f" (assumes {told})" if told else "")

    def troubles(self, grids: Iterable[Grid]) -> list[tuple[str, str, str, str, int, str]]:
        """Planned cells that are not scored: run, attack, defense, status, number of teams, and reason."""
        found: dict[tuple[str, str, str, str], dict[str, str]] = {}  # reasons by the cell's id: grids share cells
        for grid in grids:
            for conditions in grid.conditions:
                for attack in () if "gates" in conditions else planned(grid):
                    for defense in ("none", *grid.defenses):
                        for row in self.rows(grid.run, attack, defense, conditions).values():
                            if row["status"] != "ok":
                                key = grid.run, label(attack), defense, row["status"]
                                found.setdefault(key, {})[row["id"]] = row.get("reason") or row.get("error") or ""
        return [(*key, len(reasons), next(iter(reasons.values()))) for key, reasons in found.items()]


def key_of(run: str, row: Row) -> Key:
    """What tells a cell from others, besides its seed."""
    attack = (row.get("attack") or {}).get("label", "none")
    return run, row["variant"], attack, row["defense_label"], row["conditions_label"] or ""


def read(row: Row, path: str) -> float | None:
    """A field of a row by its dotted path; None if it is missing."""
    found: Any = row
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found
