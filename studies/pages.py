"""Common parts of the pages: cells, tables and figures.

The cells of existing run folders are first copied to docs/<folder>/cells.jsonl, without the fields that no page shows.
Pages are written from that file alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from run import run_name, studies_of, study

from agentcomm.base.documents import read_rows
from agentcomm.base.files import append_line, write_text
from agentcomm.evaluation.statistics import Estimate, estimate

DOCS = Path(__file__).parents[1] / "docs"
KEPT = ("id", "variant", "seed", "environment", "conditions_label", "decisions", "training", "episodes")
KEPT += ("status", "metrics", "ledger", "graph", "versions", "time")
COLORS = ("#2b5d8a", "#c2572b", "#4d8b57", "#8a5a9e", "#777777", "#b3972c")
SUMMARY = ("team", "mean steps (95% interval)", "each seed", "success", "messages per step", "seconds of training")
Row = dict[str, Any]
mpl.rcParams |= {"svg.hashsalt": "agentcomm", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def collect(folder: str, root: Path) -> list[Row]:
    """All cells of a folder's studies; those in run folders replace recorded ones of the same run and id."""
    path = DOCS / folder / "cells.jsonl"
    rows = {(row["run"], row["id"]): row for row in read_rows(path, None, str(path))[0]}
    for name in studies_of(folder):
        for team in study(folder, name)["teams"]:
            cells = root / folder / run_name(name, team) / "cells.jsonl"
            for row in read_rows(cells, None, str(cells))[0]:
                kept = {key: row.get(key) for key in KEPT} | {"run": run_name(name, team), "study": name, "team": team}
                rows[kept["run"], row["id"]] = kept
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "")
    for row in rows.values():
        append_line(path, row)
    return list(rows.values())


class Cells:
    """The cells of a folder's studies by study and team; saves the figures that are made from them."""

    def __init__(self, folder: str, rows: Sequence[Row]) -> None:
        self.folder = folder
        self.rows = [row for row in rows if row["status"] == "ok"]

    def of(self, name: str, team: str, variant: str = "team", conditions: str = "") -> list[Row]:
        """One row per seed. ``conditions``: label of the conditions that differ from training."""
        wanted = (name, team, variant, conditions)
        keys = ("study", "team", "variant", "conditions_label")
        return [row for row in self.rows if tuple(row.get(key) for key in keys) == wanted]

    def teams(self, name: str) -> list[str]:
        """Teams of a study."""
        return list(study(self.folder, name)["teams"])

    def save(self, figure: Any, name: str) -> str:
        """Write a figure and return the markdown that shows it."""
        where = DOCS / self.folder / f"{name}.svg"
        figure.savefig(where, bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)
        return f"![{name.replace('_', ' ')}]({self.folder}/{name}.svg)\n"

    def dots(self, entries: Sequence[tuple[str, Sequence[float]]], label: str, name: str) -> str:
        """Plot a line per team: each seed as a dot, the mean with its interval as a bar."""
        figure, axes = plt.subplots(figsize=(6.4, 0.34 * len(entries) + 0.7))
        for place, (_, values) in enumerate(entries):
            e = over_seeds(values)
            axes.plot(values, [place] * len(values), "o", color=COLORS[0], alpha=0.35, ms=4, mew=0)
            low, high = e.interval or (e.value, e.value)
            axes.plot([low, high], [place, place], color=COLORS[0], lw=2)
            axes.plot([e.value], [place], "|", color=COLORS[0], ms=11, mew=2)
        axes.set_yticks(range(len(entries)), [entry[0] for entry in entries])
        axes.set_ylim(len(entries) - 0.5, -0.5)
        axes.set_xlabel(label)
        axes.grid(axis="x", alpha=0.25)
        return self.save(figure, name)


def by_seed(rows: Sequence[Row], metric: str = "mean_steps") -> dict[int, float]:
    """A metric by seed."""
    return {row["seed"]: float(row["metrics"][metric]) for row in rows}


def mean_of(rows: Sequence[Row], metric: str) -> float:
    """Mean over seeds."""
    return float(np.mean(list(by_seed(rows, metric).values())))


def over_seeds(values: Sequence[float]) -> Estimate:
    """Mean over seeds with its 95% interval (bootstrap over seeds)."""
    return estimate(list(values), np.random.default_rng(0))


def text(e: Estimate, digits: int = 2) -> str:
    """``5.87 (5.80 to 5.95)``."""
    if not e.known:
        return "\N{EM DASH}"
    between = f" ({e.interval[0]:.{digits}f} to {e.interval[1]:.{digits}f})" if e.interval else ""
    return f"{e.value:.{digits}f}{between}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def summary(name: str, rows: Sequence[Row]) -> list[str]:
    """A row of a task's table: steps, success, messages, training."""
    steps = by_seed(rows)
    return [
        name,
        text(over_seeds(list(steps.values()))),
        ", ".join(f"{v:.2f}" for v in steps.values()),
        f"{mean_of(rows, 'success'):.3f}",
        f"{mean_of(rows, 'messages_per_step'):.2f}",
        f"{np.mean([row['training']['seconds'] for row in rows]):.0f}",
    ]


def write_page(
    folder: str, title: str, about: str, parts: Mapping[str, tuple[str, Callable[[Cells], str]]], root: Path
) -> Path:
    """Write docs/<folder>.md.

    Args:
        folder: Folder of the studies.
        title: Of the page.
        about: Beginning of its first paragraph; how it was made is added.
        parts: By heading, the study whose cells a part needs, and the function that writes the part.
        root: Where folders of runs lie.
    """
    rows = collect(folder, root)
    cells = Cells(folder, rows)
    spent = {(row["run"], row["variant"], row["seed"]): row["training"]["seconds"] for row in cells.rows}
    episodes = "/".join(map(str, sorted({row["episodes"] for row in rows})))
    page = [
        f"# {title}\n",
        f"{about} `python studies/run.py {folder}` trains and evaluates the teams; `python studies/{folder}_page.py`"
        f" writes this page from [cells.jsonl]({folder}/cells.jsonl); `make experiments` does both for all pages. Each"
        f" number is a mean over {episodes} greedy episodes per team, one per world, over a fixed horizon (teams"
        " without messages: greedy or sampled, whichever is better). Intervals resample teams (seeds)."
        f" {len(spent)} teams took {sum(spent.values()) / 3600:.1f} hours of training, each on one thread of a shared"
        f" two-core machine, so training times are approximate. Settings: `studies/{folder}/`.\n",
    ]
    for heading, (name, part) in parts.items():
        if any(row["study"] == name for row in cells.rows):
            page += [f"## {heading}\n", part(cells)]
    where = DOCS / f"{folder}.md"
    write_text(where, "\n".join(page))
    return where
