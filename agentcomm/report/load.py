"""Reads a run folder for its report; unreadable parts are counted and reported."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentcomm.base.documents import LARGEST_YAML, read_json, read_rows, read_text
from agentcomm.base.errors import AgentcommError, RunError
from agentcomm.base.values import parse_yaml, to_yaml
from agentcomm.runs.record import KEY as RECORD
from agentcomm.runs.rows import CellRow, ProgressRow, Recordings

VARIANTS = ("team", "control")
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
        cells: Evaluated cells, the last row of each id.
        curves: Learning curves.
        episodes: Recordings for the player; None without any.
        notes: Problems with the folder, as sentences.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    config_text: str
    cells: list[dict[str, Any]]
    curves: list[Curve] = field(default_factory=list)
    episodes: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


def load_run(folder: Path, live: bool = False) -> RunData:
    """Read a run folder.

    Args:
        folder: The folder.
        live: Whether the run may still be training or evaluated: it may have no cells yet, and last lines without an
            end are being written.

    Raises:
        RunError: If it contains no evaluated cell, unless ``live``.
    """
    notes: list[str] = []
    path = folder / "cells.jsonl"
    rows, broken = read_rows(path, CellRow, str(path), folder, growing=live)
    current = [row for row in rows if not row.get("stale")]
    again = {row.get("id") for row in current}
    stale = {row.get("id"): str(row["stale"]) for row in rows if row.get("stale") and row.get("id") not in again}
    cells = _cells(current)
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


def _cells(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last row of every id, in order of first appearance."""
    cells: dict[str, dict[str, Any]] = {}
    for row in rows:
        attack = row.get("attack")
        place = [row["variant"], row["seed"], attack and attack["label"], row.get("defense_label", "none")]
        cells[row.get("id") or json.dumps(place)] = row
    return list(cells.values())


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
