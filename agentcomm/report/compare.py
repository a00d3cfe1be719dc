"""Compares runs: what differs in their configs, and by how much their scores, damages and attack successes differ.

Every run is compared with the first. Seeds are paired where the runs share them, otherwise runs are compared as
independent groups; p values are adjusted for all differences of the comparison together (Holm).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agentcomm.base.errors import RunError
from agentcomm.report.differing import Differing, Side, differing, episodes_of, why_not
from agentcomm.report.load import load_run
from agentcomm.report.quantities import Quantity, Read, Scores, quantities, retained_estimate
from agentcomm.report.results import NONE, Results
from agentcomm.statistics import CLAIM_SEEDS, REAL, Comparison, Estimate, Scale, compare, estimate, family
from agentcomm.statistics.groups import compare_groups


@dataclass(frozen=True)
class Value:
    """One quantity of one run in one cell.

    Attributes:
        by_seed: Value of each seed, NaN where its cell failed.
        estimate: Mean over seeds with its interval.
        comparison: This run minus the first; None for the first, and where they cannot be compared.
        refused: Why they cannot be compared; empty if they can.
    """

    by_seed: dict[int, float]
    estimate: Estimate
    comparison: Comparison | None = None
    refused: str = ""


@dataclass(frozen=True)
class Line:
    """One quantity in one cell, for all runs.

    Attributes:
        attack: Label of the attack; None for none.
        defense: Label of the defenses.
        quantity: What is compared.
        values: By name of the run; runs without the cell are absent.
    """

    attack: str | None
    defense: str
    quantity: Quantity
    values: dict[str, Value]


@dataclass(frozen=True)
class RunComparison:
    """Several runs compared with the first of them.

    Attributes:
        sides: The runs.
        differs: What differs between them besides their scores.
        lines: All quantities of all cells.
        notes: What limits the comparison, as sentences.
    """

    sides: list[Side]
    differs: list[Differing]
    lines: list[Line]
    notes: list[str]

    @property
    def names(self) -> list[str]:
        """Names of the runs; the first is the one that the others are compared with."""
        return [side.name for side in self.sides]

    def rows(self) -> list[dict[str, Any]]:
        """A flat row per quantity, cell and run, such as for a data frame."""
        return [
            {"attack": line.attack, "defense": line.defense, "quantity": line.quantity.key, "run": name, **_row(value)}
            for line in self.lines
            for name, value in line.values.items()
        ]


def compare_runs(folders: Sequence[Path]) -> RunComparison:
    """Compare runs with the first of them.

    Args:
        folders: Folders of runs, or of several runs each.

    Raises:
        RunError: If fewer than two of them have evaluated cells.
    """
    sides, notes = _sides(folders)
    retained = any("score" in why_not(sides[0], side) for side in sides[1:])
    compared = quantities([side.results for side in sides], retained)
    lines = [line for quantity, read in compared for line in _lines(sides, quantity, read)]
    lines = _adjusted([line for line in lines if line.values])
    refused = dict.fromkeys(
        f"{line.quantity.label.capitalize()} of {name} is not compared with that of {sides[0].name}: {value.refused}."
        for line in lines
        for name, value in line.values.items()
        if value.refused
    )
    few = min((len(side.results.seeds) for side in sides), default=0)
    if few < CLAIM_SEEDS:
        notes.append(
            f"The smallest run has {few} seed{'s' * (few != 1)}. Claims need {CLAIM_SEEDS}: read the numbers as what"
            " these seeds did, not as what others would do."
        )
    sizes = {side.name: episodes_of(side) for side in sides}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        notes.append(f"The runs were evaluated on different episodes ({told}): read their differences with that noise.")
    other = sum(len(side.run.cells) - sum(map(len, _main(side.results))) for side in sides)
    if other:
        notes.append(f"{other} cells under other conditions than the runs' own are not compared.")
    return RunComparison(sides, differing(sides), lines, [*refused, *notes])


def run_folders(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Folders of runs among some paths, with those that they contain; and what is left out, as sentences.

    Raises:
        RunError: If a path does not exist.
    """
    found: dict[Path, Path] = {}
    notes = []
    for path in paths:
        if not path.exists():
            raise RunError(f"no run at {path}; give the folders of runs, such as runs/mine runs/other, or runs/grid/*")
        inside = [config.parent for config in sorted(path.glob("*/config.yaml"))] if path.is_dir() else []
        own = [path] if (path / "config.yaml").is_file() else inside
        if not own:
            notes.append(f"{path} is left out: it is not the folder of a run.")
        found |= {folder.resolve(): folder for folder in own if folder.resolve() not in found}
    return list(found.values()), notes


def _sides(paths: Sequence[Path]) -> tuple[list[Side], list[str]]:
    """The runs that have cells, with names that tell them apart."""
    folders, notes = run_folders(paths)
    short = [folder.resolve().name for folder in folders]
    sides = []
    for folder, name in zip(folders, short, strict=True):
        try:
            run = load_run(folder)
        except RunError as error:
            notes.append(f"{error}; it is left out.")
            continue
        unique = name if short.count(name) == 1 else f"{folder.resolve().parent.name}/{name}"
        sides.append(Side(unique, run, Results(run.cells, run.conditions)))
        notes += [f"{unique}: {note}" for note in (*run.notes, *run.left_out)]
    if len(sides) < 2:
        given = " ".join(map(str, paths))
        raise RunError(
            f"a comparison needs two runs with evaluated cells, and {given} has {len(sides)}"
            f"{''.join(f'; {note}' for note in notes).rstrip('.')}"
        )
    return sides, notes


def _lines(sides: Sequence[Side], quantity: Quantity, read: Read) -> list[Line]:
    """A quantity in each cell of any run."""
    attacks: list[str | None] = [None]
    if quantity.attacked:
        attacks = list(dict.fromkeys(attack for side in sides for attack in side.results.attacks))
    defenses = list(dict.fromkeys([NONE, *(defense for side in sides for defense in side.results.defenses)]))
    return [
        Line(attack, defense, quantity, _values(sides, quantity, attack, defense, read))
        for attack in attacks
        for defense in defenses
    ]


def _values(
    sides: Sequence[Side],
    quantity: Quantity,
    attack: str | None,
    defense: str,
    read: Read,
) -> dict[str, Value]:
    """The value of each run that has any, each but the first compared with that of the first."""
    found: dict[str, Value] = {}
    first: dict[int, float] = {}
    for side in sides:
        by_seed = dict(read(side.results, attack, defense))
        if not any(map(math.isfinite, by_seed.values())):
            continue
        inside = all(quantity.scale.low <= v <= quantity.scale.high for v in by_seed.values() if math.isfinite(v))
        scale = quantity.scale if inside else REAL
        made = retained_estimate(side.results, attack, defense) if quantity.key == "retained" else None
        value = Value(by_seed, made or estimate(by_seed, scale))
        if side is sides[0]:
            first = by_seed
        elif first:
            refused = why_not(sides[0], side).get(quantity.kind, "") or _other_attack(sides[0], side, attack, quantity)
            paired = None if refused else _compare(by_seed, first, scale)
            value = replace(value, comparison=paired, refused=refused)
        found[side.name] = value
    return found


def _compare(ours: Scores, theirs: Scores, scale: Scale) -> Comparison:
    """Paired by seed if one run has all seeds of the other, otherwise as independent groups."""
    fewer, more = sorted((set(ours), set(theirs)), key=len)
    return compare(ours, theirs, scale) if fewer <= more else compare_groups(ours, theirs, scale)


def _other_attack(one: Side, other: Side, attack: str | None, quantity: Quantity) -> str:
    """Why an attack is not the same in two runs though its label is."""
    if attack is None:
        return ""
    for what in ("assumes", "version"):
        ours, theirs = ((side.results.records.get(attack) or {}).get(what) for side in (one, other))
        if (ours or None) != (theirs or None):
            return f"{attack} {'assumes other things' if what == 'assumes' else 'has another version'} in one of them"
    predicates = [
        {
            str((row.get("effect") or {}).get("predicate") or "")
            for d in side.results.defenses
            for row in side.results.rows(attack, d)
        }
        for side in (one, other)
    ]
    differs = quantity.key == "attack_success" and predicates[0] != predicates[1]
    return f"success of {attack} is defined in another way in one of them" if differs else ""


def _adjusted(lines: list[Line]) -> list[Line]:
    """The lines with p values adjusted for all differences together."""
    made = {
        f"{n} {name}": value.comparison
        for n, line in enumerate(lines)
        for name, value in line.values.items()
        if value.comparison is not None
    }
    known = family(made)
    return [
        replace(line, values={k: replace(v, comparison=known.get(f"{n} {k}")) for k, v in line.values.items()})
        for n, line in enumerate(lines)
    ]


def _main(results: Results) -> list[list[dict[str, Any]]]:
    """Rows of the main grid of a run."""
    attacks = [None, *results.attacks]
    team = [results.rows(attack, defense) for attack in attacks for defense in results.defenses]
    return [*team, results.rows(None, NONE, "control")]


def _row(value: Value) -> dict[str, Any]:
    low, high = value.estimate.interval or (None, None)
    row: dict[str, Any] = {"value": value.estimate.value, "low": low, "high": high, "seeds": value.estimate.seeds}
    if (made := value.comparison) is not None:
        low, high = made.difference.interval or (None, None)
        row |= {"difference": made.difference.value, "difference_low": low, "difference_high": high}
        row |= {"p": made.p, "adjusted": made.adjusted, "supported": made.supported}
    return row | ({"refused": value.refused} if value.refused else {})
