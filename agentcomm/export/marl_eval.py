"""The JSON layout of marl-eval (Gorsane et al. 2022, https://github.com/instadeepai/marl-eval).

``environment / task / algorithm / run / step``, where

- environment is the name of the environment,
- task is the attack, under its conditions where they are not those of training: ``no attack``, ``drop``,
  ``codec=int8: drop``. An attack makes the environment another task,
- algorithm is the name of the run and the defenses: ``capture``, ``capture + clip``; the team retrained without
  messages is ``capture without messages``,
- run is the training seed: ``seed_0``,
- ``step_1`` holds the team at the end of training: ``step_count`` (environment steps of training) and every metric as
  a list of one number, the mean over the cell's episodes. ``absolute_metrics`` holds the same numbers, because the
  final policy is evaluated on all episodes of the cell.

marl-eval needs the same tasks, seeds and metrics for every algorithm of an environment, and looks up environments,
tasks and metrics in lower case. So tasks that some team lacks, seeds that failed in some cell and metrics that do not
apply to all cells are left out; a note says which. Inconclusive cells count as failed ones.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agentcomm.report.load import RunData

UNNAMED = "unknown environment"


@dataclass(frozen=True)
class Entry:
    """A cell and its place in the layout."""

    environment: str
    task: str
    algorithm: str
    seed: int
    team: bool
    cell: dict[str, Any]


def as_marl_eval(runs: Sequence[RunData]) -> tuple[bytes, list[str]]:
    """The cells of runs in marl-eval's layout, and what was left out."""
    places = defaultdict(list)
    for run in runs:
        for cell in run.cells:
            made = _entry(run, cell)
            places[made.environment].append(made)
    notes = [f"{run.name}: {note}" for run in runs for note in run.left_out]
    layout = {environment: _tasks(entries, notes) for environment, entries in places.items()}
    text = json.dumps({name: tasks for name, tasks in layout.items() if tasks}, indent=1)
    return (text + "\n").encode(), notes


def _entry(run: RunData, cell: dict[str, Any]) -> Entry:
    environment = (cell.get("environment") or run.config.get("environment") or {}).get("name") or UNNAMED
    attack = "no attack" if cell.get("attack") is None else cell["attack"]["label"]
    under, defense, team = cell.get("conditions_label"), cell.get("defense_label", "none"), cell["variant"] == "team"
    algorithm = run.name if team else f"{run.name} without messages"
    algorithm += "" if defense == "none" else f" + {defense}"
    task = f"{under}: {attack}" if under else attack
    return Entry(environment.lower(), task.lower(), algorithm, cell["seed"], team, cell)


def _tasks(entries: list[Entry], notes: list[str]) -> dict[str, Any]:
    """The part of the layout of one environment; what it leaves out is added to the notes."""
    by: dict[str, dict[str, dict[int, Entry]]] = defaultdict(lambda: defaultdict(dict))  # algorithm, task, seed
    for entry in entries:
        if entry.cell.get("status") not in ("failed", "inconclusive") and entry.cell["metrics"]:
            by[entry.algorithm][entry.task][entry.seed] = entry
    teams = {entry.algorithm for entry in entries if entry.team}
    tasks = _common([by[name] for name in by if name in teams])
    algorithms = [name for name in by if set(tasks) <= by[name].keys()] if tasks else []
    cells = [by[name][task] for name in algorithms for task in tasks]
    seeds = sorted(_common(cells))
    kept = [found[seed].cell for found in cells for seed in seeds]
    metrics = _common([{k: v for k, v in cell["metrics"].items() if v is not None} for cell in kept])
    environment = entries[0].environment
    for what, every, used in (
        ("tasks", dict.fromkeys(entry.task for entry in entries), tasks),
        ("algorithms", dict.fromkeys(entry.algorithm for entry in entries), algorithms),
        ("seeds", sorted({entry.seed for entry in entries}), seeds),
        ("metrics", dict.fromkeys(name for entry in entries for name in entry.cell["metrics"]), metrics),
    ):
        if missing := [str(name) for name in every if name not in used]:
            notes.append(
                f"{environment}: left out {what} that not all of it has, as marl-eval needs: {', '.join(missing)}"
            )
    return {
        task: {
            name: {f"seed_{seed}": _steps(by[name][task][seed].cell, metrics) for seed in seeds} for name in algorithms
        }
        for task in (tasks if seeds and metrics else ())
    }


def _steps(cell: dict[str, Any], metrics: list[str]) -> dict[str, Any]:
    values = {name.lower(): [cell["metrics"][name]] for name in metrics}
    count = (cell.get("training") or {}).get("env_steps") or 0
    return {"step_1": {"step_count": count, **values}, "absolute_metrics": values}


def _common(groups: Iterable[Any]) -> list[Any]:
    """The keys that all of some mappings have, in the order of the first."""
    first, *rest = list(groups) or [{}]
    return [key for key in first if all(key in other for other in rest)]
