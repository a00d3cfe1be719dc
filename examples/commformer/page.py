"""Writes docs/commformer.md and its figures from the cells of the studies.

Cells of run folders that are there are first copied, without what the page does not show, into
docs/commformer/cells.jsonl; the page is made from that file alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import typer
from run import ROOT, STUDIES, run_name, study

from agentcomm.assembly import make_world
from agentcomm.config import Choice
from agentcomm.evaluation.cells import read_jsonl
from agentcomm.evaluation.statistics import Estimate, estimate, paired_difference
from agentcomm.files import append_line, write_text

REPO = Path(__file__).parents[2]
PAGE, FOLDER = REPO / "docs/commformer.md", REPO / "docs/commformer"
KEPT = ("id", "variant", "seed", "environment", "world", "gates", "decisions", "training", "episodes", "status")
KEPT += ("metrics", "graph", "versions", "time")
COLORS = ("#2b5d8a", "#c2572b", "#4d8b57", "#8a5a9e", "#777777", "#b3972c")
Row = dict[str, Any]
mpl.rcParams |= {"svg.hashsalt": "agentcomm", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def collect(root: Path) -> list[Row]:
    """All cells there are, by run and id; those of run folders replace older ones."""
    path = FOLDER / "cells.jsonl"
    rows = {(row["run"], row["id"]): row for row in (read_jsonl(path)[0] if path.exists() else [])}
    for name in STUDIES:
        for team in study(name)["teams"]:
            cells = root / run_name(name, team) / "cells.jsonl"
            for row in read_jsonl(cells)[0] if cells.exists() else []:
                kept = {key: row[key] for key in KEPT} | {"run": run_name(name, team), "study": name, "team": team}
                rows[kept["run"], row["id"]] = kept
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_text(path, "")
    for row in rows.values():
        append_line(path, row)
    return list(rows.values())


class Cells:
    """Cells of all studies, asked for by study and team."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = [row for row in rows if row["status"] == "ok"]

    def of(
        self, study_name: str, team: str, variant: str = "team", world: str = "", gates: str | None = None
    ) -> list[Row]:
        """One row per seed."""
        wanted = (study_name, team, variant, world, gates)
        return [r for r in self.rows if (r["study"], r["team"], r["variant"], r["world"], r["gates"]) == wanted]


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
    """A line of the tables of tasks: steps, success, messages, training."""
    trained = [row["training"] for row in rows]
    steps = by_seed(rows)
    return [
        name,
        text(over_seeds(list(steps.values()))),
        ", ".join(f"{v:.2f}" for v in steps.values()),
        f"{mean_of(rows, 'success'):.3f}",
        f"{mean_of(rows, 'messages_per_step'):.2f}",
        f"{np.mean([t['seconds'] for t in trained]):.0f}",
    ]


SUMMARY = ("team", "mean steps (95% interval)", "each seed", "success", "messages per step", "seconds of training")


def save(figure: Any, name: str) -> str:
    """Write a figure; the markdown that shows it."""
    figure.savefig(FOLDER / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return f"![{name.replace('_', ' ')}](commformer/{name}.svg)\n"


def dots(entries: Sequence[tuple[str, Sequence[float]]], label: str, name: str) -> str:
    """Every seed as a dot, the mean with its interval as a bar; one line per team."""
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
    return save(figure, name)


def known_answer(cells: Cells) -> str:
    """Which edges were found where it is known which matter."""
    lines, found = [], {}
    for team in study("known_answer")["teams"]:
        rows = cells.of("known_answer", team)
        if not rows:
            continue
        right = []
        for row in rows:
            source = make_world(Choice.model_validate(row["environment"]), 1).informative
            right.append([int(heard[int(s)]) for heard, s in zip(row["graph"], source, strict=True)])
        found[team] = [float(np.mean(r)) for r in right]
        hits, total = sum(map(sum, right)), sum(map(len, right))
        per_step = over_seeds([v / 8 for v in by_seed(rows, "mean_return").values()])
        seconds = np.mean([row["training"]["seconds"] for row in rows])
        lines.append([team, f"{hits} of {total} ({hits / total:.0%})", text(per_step), f"{seconds:.0f}"])
    header = ("graph learned by", "rows with the informative sender", "share of right guesses", "seconds of training")
    return (
        "Eight agents must each name what exactly one other agent sees, and each may listen to one. Nobody is told"
        " whom to listen to. Guessing is right 1 time in 4; with the right graph, always.\n\n" + table(header, lines)
    )


def capture(cells: Cells) -> str:
    """Predator-Capture-Prey."""
    name = "predator_capture_prey"
    teams = list(study(name)["teams"])
    named = [(team, cells.of(name, team)) for team in teams] + [("no messages", cells.of(name, "learned", "control"))]
    named = [(team, rows) for team, rows in named if rows]
    out = table(SUMMARY, [summary(team, rows) for team, rows in named])
    shown = [(team, list(by_seed(rows).values())) for team, rows in named if team != "no messages"]
    out += "\n" + dots(shown, "mean steps to the end of an episode (fewer is better)", "predator_capture_prey")
    learned, random = by_seed(cells.of(name, "learned")), by_seed(cells.of(name, "random"))
    if learned and random:
        gain = paired_difference(learned, random, np.random.default_rng(0))
        out += f"\nLearned minus random, paired by seed: {text(gain)} steps.\n"
    return out


def gates(cells: Cells) -> str:
    """What gates save, with their controls."""
    ungated = cells.of("predator_capture_prey", "learned")
    points = [("no gate", ungated), *((team, cells.of("gates", team)) for team in study("gates")["teams"])]
    points = [(team, rows) for team, rows in points if rows]
    lines = []
    for team, rows in points:
        steps, own = over_seeds(list(by_seed(rows).values())), over_seeds(list(by_seed(rows, "mean_return").values()))
        sent = mean_of(rows, "messages_per_step")
        forced = {g: cells.of("gates", team, gates=g) for g in ("open", "shut", "random")}
        lost = saved = controls = ""
        if forced["open"] and ungated:
            lost = f"{1 - mean_of(rows, 'mean_return') / mean_of(ungated, 'mean_return'):+.1%}"
            saved = f"{1 - sent / mean_of(forced['open'], 'messages_per_step'):.0%}"
            controls = " / ".join(f"{mean_of(r, 'mean_steps'):.2f}" for r in forced.values())
        lines.append([team, text(steps), text(own, 3), lost, f"{sent:.2f}", saved, controls])
    figure, axes = plt.subplots(figsize=(5.2, 3.4))
    for number, (team, rows) in enumerate(points):
        x, y = by_seed(rows, "messages_per_step"), by_seed(rows, "mean_return")
        color = COLORS[number % len(COLORS)]
        axes.plot(list(x.values()), list(y.values()), "o", color=color, alpha=0.3, ms=4, mew=0)
        axes.plot([np.mean(list(x.values()))], [np.mean(list(y.values()))], "o", color=color, ms=7, label=team)
    axes.set_xlabel("messages per step")
    axes.set_ylabel("mean return")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    header = ("gate, price", "mean steps", "mean return", "against no gate", "messages per step", "saved by shutting")
    header += ("mean steps with gates always open / always shut / open at random, as often",)
    return table(header, lines) + "\n" + save(figure, "gates")


def peers(cells: Cells) -> str:
    """Other policies in the same worlds."""
    named = [(team, cells.of("peers", team)) for team in study("peers")["teams"]]
    own = [(f"CommFormer, {t}", cells.of("predator_capture_prey", t)) for t in ("learned", "learned, autoregressive")]
    named = [(team, rows) for team, rows in [*own, *named] if rows]
    return (
        table(SUMMARY, [summary(team, rows) for team, rows in named])
        + "\n"
        + dots([(team, list(by_seed(rows).values())) for team, rows in named], "mean steps (fewer is better)", "peers")
    )


def sizes(cells: Cells) -> str:
    """Predator-Prey, and the team of five as a team of others."""
    rows = cells.of("predator_prey", "5")
    named = [("learned, 5 predators", rows), ("no messages", cells.of("predator_prey", "5", "control"))]
    out = table(SUMMARY, [summary(name, found) for name, found in named if found])
    lines, shown = [], []
    for size in ("3", "4", "5", "6", "8", "10"):
        moved = rows if size == "5" else cells.of("predator_prey", "5", world=f"predators={size}")
        own = cells.of("predator_prey", size)
        if not moved:
            continue
        there = over_seeds(list(by_seed(moved).values()))
        retrained = over_seeds(list(by_seed(own).values()))
        success = [f"{mean_of(r, 'success'):.2f}" if r else "\N{EM DASH}" for r in (moved, own)]
        trained = f"{text(retrained, 1)}, {len(own)} seeds" if own else "\N{EM DASH}"
        lines.append([size, text(there, 1), success[0], trained, success[1]])
        shown.append((int(size), there, retrained))
    out += "\nTrained with five, played with another number, without training again:\n\n"
    header = ("predators", "team of five: mean steps", "success", "trained with that number: mean steps", "success")
    out += table(header, lines)
    figure, axes = plt.subplots(figsize=(5.2, 3.0))
    for pick, label, color in ((1, "trained with five", COLORS[1]), (2, "trained with that number", COLORS[0])):
        known = [entry for entry in shown if entry[pick].known]
        axes.plot([e[0] for e in known], [e[pick].value for e in known], "o-", color=color, label=label)
        for entry in known:
            if entry[pick].interval:
                axes.plot([entry[0]] * 2, entry[pick].interval, color=color, lw=1.5, alpha=0.6)
    axes.set_xlabel("predators")
    axes.set_ylabel("mean steps")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return out + "\n" + save(figure, "team_sizes")


PARTS: dict[str, Callable[[Cells], str]] = {
    "known_answer": known_answer,
    "predator_capture_prey": capture,
    "gates": gates,
    "peers": peers,
    "predator_prey": sizes,
}


def main(root: Annotated[Path, typer.Option(help="where run folders lie")] = ROOT) -> None:
    """Write the page."""
    rows = collect(root)
    cells = Cells(rows)
    spent = {(row["run"], row["variant"], row["seed"]): row["training"]["seconds"] for row in cells.rows}
    episodes = sorted({row["episodes"] for row in rows})
    hours = sum(spent.values()) / 3600
    page = [
        "# CommFormer: what its graph and its gate are worth\n",
        "Written by `python examples/commformer/page.py` from [cells.jsonl](commformer/cells.jsonl); trained and"
        f" evaluated by `make experiments`. Every number is a plain mean over {'/'.join(map(str, episodes))} greedy"
        " episodes per team (the team without messages: greedy or sampled, whichever is better), one per world, over a"
        f" fixed horizon; intervals resample teams (seeds). {len(spent)} teams, {hours:.1f} hours of training on single"
        " threads of a shared two-core machine, so seconds are rough. Settings: `examples/commformer/`.\n",
    ]
    for name, part in PARTS.items():
        if any(row["study"] == name for row in cells.rows):
            page += [f"## {study(name)['title']}\n", part(cells)]
    write_text(PAGE, "\n".join(page))
    typer.echo(f"wrote {PAGE.relative_to(REPO)}")


if __name__ == "__main__":
    typer.run(main)
