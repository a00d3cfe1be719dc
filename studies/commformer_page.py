"""Writes docs/commformer.md and its figures from the cells of studies/commformer."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import typer
from pages import COLORS, SUMMARY, Cells, by_seed, mean_of, over_seeds, summary, table, text, write_page
from run import ROOT

from agentcomm.evaluation.statistics import paired_difference
from agentcomm.runs.assembly import make_world
from agentcomm.runs.choices import Choice

TITLE = "CommFormer: what its graph and its gate are worth"
ABOUT = (
    "Does the learned graph find the edges that matter, what is it worth, what do gates save, and how do other policies"
    " compare?"
)


def known_answer(cells: Cells) -> str:
    """Which edges were learned in a task whose best graph is known."""
    lines = []
    for team in cells.teams("known_answer"):
        rows = cells.of("known_answer", team)
        if not rows:
            continue
        right = []
        for row in rows:
            with closing(make_world(Choice.model_validate(row["environment"]), 1)) as world:
                source = world.informative
            right.append([int(heard[int(s)]) for heard, s in zip(row["graph"], source, strict=True)])
        hits, total = sum(map(sum, right)), sum(map(len, right))
        per_step = over_seeds([v / 8 for v in by_seed(rows, "mean_return").values()])
        seconds = np.mean([row["training"]["seconds"] for row in rows])
        lines.append([team, f"{hits} of {total} ({hits / total:.0%})", text(per_step), f"{seconds:.0f}"])
    header = (
        "graph learned by",
        "receivers with their informative sender",
        "share of correct answers",
        "seconds of training",
    )
    return (
        "Each of eight agents must name what exactly one other agent sees, and may listen to one agent. Agents are not"
        " told whom to listen to. A guess is correct 1 time in 4; with the right graph, agents can always be correct."
        "\n\n" + table(header, lines)
    )


def capture(cells: Cells) -> str:
    """Predator-Capture-Prey."""
    name = "predator_capture_prey"
    teams = cells.teams(name)
    named = [(team, cells.of(name, team)) for team in teams] + [("no messages", cells.of(name, "learned", "control"))]
    named = [(team, rows) for team, rows in named if rows]
    out = table(SUMMARY, [summary(team, rows) for team, rows in named])
    shown = [(team, list(by_seed(rows).values())) for team, rows in named if team != "no messages"]
    out += "\n" + cells.dots(shown, "mean steps to the end of an episode (fewer is better)", "predator_capture_prey")
    learned, random = by_seed(cells.of(name, "learned")), by_seed(cells.of(name, "random"))
    if learned and random:
        gain = paired_difference(learned, random, np.random.default_rng(0))
        out += f"\nLearned minus random, paired by seed: {text(gain)} steps.\n"
    return out


def gates(cells: Cells) -> str:
    """What gates save, and their controls."""
    ungated = cells.of("predator_capture_prey", "learned")
    points = [("no gate", ungated), *((team, cells.of("gates", team)) for team in cells.teams("gates"))]
    points = [(team, rows) for team, rows in points if rows]
    lines = []
    for team, rows in points:
        steps, own = over_seeds(list(by_seed(rows).values())), over_seeds(list(by_seed(rows, "mean_return").values()))
        sent = mean_of(rows, "messages_per_step")
        forced = {g: cells.of("gates", team, conditions=f"gates {g}") for g in ("open", "closed", "random")}
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
    about = (
        "In each step, an open gate costs its agent the price times k / N. A gate that is trained as an action is part"
        " of PPO's probability ratio. A gate that is trained straight through closes in the first iterations, when"
        " messages have no value yet, and stays closed, because a closed gate learns from its price alone. (In short"
        " runs without a price, and with a gate that learned a tenth as fast, it stayed open and the team learned.)"
        "\n\n"
    )
    header = ("gate, price", "mean steps", "mean return", "change of return against no gate", "messages per step")
    header += ("messages saved", "mean steps with gates always open / always closed / open at random, equally often")
    return about + table(header, lines) + "\n" + cells.save(figure, "gates")


def peers(cells: Cells) -> str:
    """Other policies in the same worlds."""
    named = [(team, cells.of("peers", team)) for team in cells.teams("peers")]
    own = [(f"CommFormer, {t}", cells.of("predator_capture_prey", t)) for t in ("learned", "learned, autoregressive")]
    named = [(team, rows) for team, rows in [*own, *named] if rows]
    return (
        table(SUMMARY, [summary(team, rows) for team, rows in named])
        + "\n"
        + cells.dots(
            [(team, list(by_seed(rows).values())) for team, rows in named], "mean steps (fewer is better)", "peers"
        )
    )


def sizes(cells: Cells) -> str:
    """Predator-Prey, and the team of five with members added or missing."""
    rows = cells.of("predator_prey", "5")
    large = cells.of("predator_prey", "20x20, 10 predators")
    named = [("learned, 5 predators", rows), ("no messages", cells.of("predator_prey", "5", "control"))]
    named += [("20x20, 10 predators, at most 80 steps", large)]
    out = table(SUMMARY, [summary(name, found) for name, found in named if found])
    lines, shown = [], []
    for size in ("3", "4", "5", "6", "8", "10"):
        moved = rows if size == "5" else cells.of("predator_prey", "5", conditions=f"predators={size}")
        own = cells.of("predator_prey", size)
        if not moved:
            continue
        there = over_seeds(list(by_seed(moved).values()))
        retrained = over_seeds(list(by_seed(own).values()))
        success = [f"{mean_of(r, 'success'):.2f}" if r else "\N{EM DASH}" for r in (moved, own)]
        trained = f"{text(retrained, 1)}, {len(own)} {'seeds' if len(own) > 1 else 'seed'}" if own else "\N{EM DASH}"
        lines.append([size, text(there, 1), success[0], trained, success[1]])
        shown.append((int(size), there, retrained))
    out += "\nTeams trained with five predators and evaluated with another number, without retraining:\n\n"
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
    return out + "\n" + cells.save(figure, "team_sizes")


PARTS = {
    "Does the learned graph find the edges that matter?": ("known_answer", known_answer),
    "What is a learned graph worth where messages are necessary?": ("predator_capture_prey", capture),
    "What do gates save, and does it matter when they open?": ("gates", gates),
    "How do other policies compare?": ("peers", peers),
    "Does a team of five find the prey, and does it still with three or ten members?": ("predator_prey", sizes),
}


def main(root: Annotated[Path, typer.Option(help="where folders of runs lie")] = ROOT) -> None:
    """Write the page."""
    typer.echo(f"wrote {write_page('commformer', TITLE, ABOUT, PARTS, root)}")


if __name__ == "__main__":
    typer.run(main)
