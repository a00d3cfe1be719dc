"""Reads a run folder for its report; unreadable parts are counted and reported."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from agentcomm.base.errors import RunError
from agentcomm.base.files import read_jsonl

VARIANTS = ("team", "control")


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
        config_text: The text of ``config.yaml``.
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


def load_run(folder: Path) -> RunData:
    """Read a run folder.

    Raises:
        RunError: If it contains no evaluated cell.
    """
    notes: list[str] = []
    path = folder / "cells.jsonl"
    rows, broken = read_jsonl(path) if path.is_file() else ([], 0)
    current = [row for row in rows if not row.get("stale")]
    again = {row.get("id") for row in current}
    stale = dict.fromkeys(str(row["stale"]) for row in rows if row.get("stale") and row.get("id") not in again)
    cells, odd = _cells(current)
    if not cells:
        detail = f" ({broken + odd} unreadable lines)" if broken + odd else ""
        raise RunError(f"{folder} contains no evaluated cell{detail}; run `agentcomm evaluate` first")
    notes += [f"Cells evaluated earlier are left out: {reason} since. Evaluate them again." for reason in stale]
    if broken + odd:
        notes.append(f"{_lines(broken + odd)} of cells.jsonl could not be read and {_is_are(broken + odd)} skipped.")
    text, config = _config(folder, notes)
    return RunData(
        name=str(config.get("name") or folder.resolve().name),
        folder=folder,
        config=config,
        config_text=text,
        cells=cells,
        curves=_curves(folder, notes),
        episodes=_episodes(folder, notes),
        notes=notes,
    )


def number(value: Any) -> float:
    """``value`` as a float; NaN for anything but a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if math.isfinite(value) else math.nan


def _cells(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """The last row of every id, in order of first appearance, and the number of invalid rows."""
    cells: dict[str, dict[str, Any]] = {}
    odd = 0
    for row in rows:
        attack = row.get("attack")
        proper = (
            row.get("variant") in VARIANTS
            and isinstance(row.get("seed"), int)
            and (attack is None or (isinstance(attack, dict) and isinstance(attack.get("label"), str)))
            and isinstance(row.get("defense_label", "none"), str)
        )
        if not proper:
            odd += 1
            continue
        place = [row["variant"], row["seed"], attack and attack["label"], row.get("defense_label", "none")]
        cells[str(row.get("id") or json.dumps(place))] = row
    return list(cells.values()), odd


def _config(folder: Path, notes: list[str]) -> tuple[str, dict[str, Any]]:
    try:
        text = (folder / "config.yaml").read_text(encoding="utf-8")
        config = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        notes.append("config.yaml is missing or cannot be read.")
        return "", {}
    return text, config if isinstance(config, dict) else {}


def _curves(folder: Path, notes: list[str]) -> list[Curve]:
    curves = []
    for path in sorted(folder.glob("teams/*/progress.jsonl")):
        variant, _, seed = path.parent.name.rpartition("-")
        if variant not in VARIANTS or not seed.isdigit():
            continue
        rows, broken = read_jsonl(path)
        if broken:
            notes.append(f"{_lines(broken)} of {path.parent.name}/progress.jsonl could not be read.")
        if rows:
            curves.append(Curve(variant, int(seed), rows))
    return sorted(curves, key=lambda c: (VARIANTS.index(c.variant), c.seed))


def _episodes(folder: Path, notes: list[str]) -> dict[str, Any] | None:
    path = folder / "episodes.json"
    if not path.is_file():
        return None
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        usable = [e for e in recorded["episodes"] if e.get("steps")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        notes.append("episodes.json cannot be read, so no episodes are shown.")
        return None
    return {**recorded, "episodes": usable} if usable else None


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"


def _is_are(count: int) -> str:
    return "is" if count == 1 else "are"
