"""Reads a run folder for its report; unreadable parts are counted and reported."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agentcomm.base.documents import LARGEST_YAML, read_json, read_rows, read_text
from agentcomm.base.errors import AgentcommError, RunError
from agentcomm.base.values import parse_yaml, to_yaml
from agentcomm.runs.conditions import Conditions, SharedConditions
from agentcomm.runs.record import KEY as RECORD
from agentcomm.runs.rows import CellRow, ProgressRow, Recordings

VARIANTS = ("team", "control")
Row = dict[str, Any]
LARGEST_NUMBER = 1e15  # sums and squares of larger ones may overflow


@dataclass(frozen=True)
class Curve:
    """The learning curve of one team.

    Attributes:
        variant: ``team`` or ``control``.
        seed: Its training seed.
        rows: One per iteration.
    """

    variant: str
    seed: int
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class RunData:
    """The data of a report.

    Attributes:
        name: Name of the run.
        folder: Folder of the run.
        config: Resolved config; empty if it cannot be read.
        config_text: The text of ``config.yaml``, without the record of where it was made.
        cells: Evaluated cells, the last row of each id. All have the same number of episodes, and the same episodes.
        others: Cells of other episodes: they are never shown beside ``cells``, nor compared with them.
        left_out: What is said about ``others``; empty if there are none.
        conditions: Label of the conditions of the run's own config; empty if they are the defaults.
        curves: Learning curves.
        episodes: Recordings for the player; None without any.
        notes: Problems with the folder, as sentences.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    config_text: str
    cells: list[dict[str, Any]]
    others: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    conditions: str = ""
    curves: list[Curve] = field(default_factory=list)
    episodes: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


def load_run(folder: Path, live: bool = False, episodes: int | None = None) -> RunData:
    """Read a run folder.

    Args:
        folder: The folder.
        episodes: Which cells to show, by their number of episodes; None for those with most.
        live: Whether the run may still be training or evaluated: it may have no cells yet, and last lines without an
            end are being written.

    Raises:
        RunError: If it contains no evaluated cell, unless ``live``, or none with that number of episodes.
    """
    notes: list[str] = []
    path = folder / "cells.jsonl"
    rows, broken = read_rows(path, CellRow, str(path), folder, growing=live)
    current = [row for row in rows if not row.get("stale")]
    again = {row.get("id") for row in current}
    stale = {row.get("id"): str(row["stale"]) for row in rows if row.get("stale") and row.get("id") not in again}
    cells, others = _of_equal_episodes(_cells(current), episodes, folder)
    if not cells and not live:
        detail = f" ({broken} unreadable lines)" if broken else ""
        raise RunError(f"{folder} contains no evaluated cell{detail}; run `agentcomm evaluate` first")
    if stale:
        notes.append(_stale(list(stale.values())))
    if broken:
        notes.append(f"{_lines(broken)} of cells.jsonl could not be read and {_is_are(broken)} skipped.")
    text, config = _config(folder, notes)
    return RunData(
        name=str(config.get("name") or folder.resolve().name),
        folder=folder,
        config=config,
        config_text=text,
        cells=cells,
        others=others,
        left_out=[_other_episodes(cells, others)] if others else [],
        conditions=_own_conditions(config),
        curves=_curves(folder, notes, live),
        episodes=_episodes(folder, notes),
        notes=notes,
    )


def _stale(reasons: list[str]) -> str:
    """One sentence on cells that are left out, with everything that changed since they were evaluated."""
    changed = dict.fromkeys(
        part
        for reason in reasons
        for part in reason.removesuffix(" changed").split(", ")
        if reason.endswith(" changed")
    )
    others = dict.fromkeys(reason for reason in reasons if not reason.endswith(" changed"))
    why = "; ".join([*([f"{', '.join(changed)} changed"] if changed else []), *others])
    what = "1 cell is" if len(reasons) == 1 else f"{len(reasons)} cells are"
    return f"{what} left out as stale, since {why}; evaluate {'it' if len(reasons) == 1 else 'them'} again."


def number(value: Any) -> float:
    """``value`` as a float; NaN for anything but a number of plausible size."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if abs(value) < LARGEST_NUMBER else math.nan


def _cells(rows: list[Row]) -> list[Row]:
    """The last row of every id, in order of first appearance."""
    cells: dict[str, Row] = {}
    for row in rows:
        attack = row.get("attack")
        place = [row["variant"], row["seed"], attack and attack["label"], row.get("defense_label", "none")]
        cells[row.get("id") or json.dumps(place)] = row
    return list(cells.values())


def _of_equal_episodes(rows: list[Row], asked: int | None, folder: Path) -> tuple[list[Row], list[Row]]:
    """The cells of one number and one seed of episodes, and the others.

    Those with most episodes, so that a quick look afterwards replaces no better cells; of equal numbers, the seed with
    most cells. Failed cells do not decide, unless all have failed.
    """
    sound = [row for row in rows if row.get("status") != "failed"] or rows
    found = Counter(_episodes_of(row) for row in sound if asked in (None, row.get("episodes")))
    if not found:
        if asked is None:
            return [], []
        known = sorted({row["episodes"] for row in rows if row.get("episodes")})
        numbers = ", ".join(f"{number:,}" for number in known) or "none"
        raise RunError(f"episodes: {folder} has no cell of {asked:,} episodes; its cells have: {numbers}")
    chosen = max(found, key=lambda one: (one[0], found[one]))
    shown = [row for row in rows if _episodes_of(row) == chosen]
    return shown, [row for row in rows if _episodes_of(row) != chosen]


def _episodes_of(row: Row) -> tuple[int, Any]:
    """Number and seed of the episodes of a cell; 0 where an older version recorded none."""
    return row.get("episodes") or 0, row.get("episode_seed")


def _other_episodes(cells: list[Row], others: list[Row]) -> str:
    """One sentence on cells that are left out for their episodes."""
    shown, seed = _episodes_of(cells[0])
    numbers = [f"{n or 'an unknown number of'}" for n in sorted({_episodes_of(row)[0] for row in others} - {shown})]
    parts = [f"{' or '.join(numbers)} episodes"] if numbers else []
    parts += ["another seed of episodes"] if any(_episodes_of(row)[0] == shown for row in others) else []
    what = "1 cell is" if len(others) == 1 else f"{len(others)} cells are"
    return (
        f"{what} left out, of {' and '.join(parts)}: cells of {shown} episodes (seed {seed}) are shown, and those of"
        " other episodes are never shown beside them."
    )


def _own_conditions(config: dict[str, Any]) -> str:
    """The label of the conditions of a config, as far as all of its cells share them."""
    found = config.get("evaluation")
    found = found if isinstance(found, dict) else {}
    given = {name: found[name] for name in SharedConditions.model_fields if name in found}
    try:
        return Conditions.model_validate(given).label()
    except ValidationError:
        return ""


def _config(folder: Path, notes: list[str]) -> tuple[str, dict[str, Any]]:
    try:
        text = read_text(folder / "config.yaml", "config.yaml", LARGEST_YAML, folder)
        config = parse_yaml(text, "config.yaml")
    except FileNotFoundError:
        notes.append("config.yaml is missing.")
    except AgentcommError as error:
        notes.append(f"{error}.")
    else:
        if isinstance(config, dict) and config.pop(RECORD, None) is not None:
            text = to_yaml(config, sort_keys=False, default_flow_style=None, width=100)
        if isinstance(config, dict):
            return text, config
        notes.append("config.yaml contains no config.")
    return "", {}


def _curves(folder: Path, notes: list[str], live: bool) -> list[Curve]:
    curves = []
    for path in sorted(folder.glob("teams/*/progress.jsonl")):
        variant, _, seed = path.parent.name.rpartition("-")
        if variant not in VARIANTS or not re.fullmatch("[0-9]{1,18}", seed):
            continue
        name = f"{path.parent.name}/progress.jsonl"
        try:
            rows, broken = read_rows(path, ProgressRow, name, folder, growing=live)
        except AgentcommError as error:
            notes.append(f"{error}.")
            continue
        if broken:
            notes.append(f"{_lines(broken)} of {name} could not be read.")
        if rows:
            curves.append(Curve(variant, int(seed), rows))
    return sorted(curves, key=lambda c: (VARIANTS.index(c.variant), c.seed))


def _episodes(folder: Path, notes: list[str]) -> dict[str, Any] | None:
    try:
        recorded = read_json(folder / "episodes.json", Recordings, "episodes.json", folder)
    except FileNotFoundError:
        return None
    except AgentcommError as error:
        notes.append(f"No episodes are shown: {error}.")
        return None
    usable = [e for e in recorded["episodes"] if e["steps"]]
    return {**recorded, "episodes": usable} if usable else None


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"


def _is_are(count: int) -> str:
    return "is" if count == 1 else "are"
