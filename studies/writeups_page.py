"""Writes docs/threats/{replay,sybil,learned_attackers}.md: closer looks at attacks on learned communication.

python studies/writeups_page.py    from docs/threats/cells.jsonl, which studies/threats_page.py collects, and from
                                    docs/threats/attackers.json, which studies/attackers.py measures
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pages
import typer
from pages import COLORS, Row, table
from threats import AGES, CAPTURE, COPIES, DISTANCES, MARKET
from threats_effects import damage

from agentcomm.base.documents import read_rows
from agentcomm.base.files import write_text
from agentcomm.evaluation.statistics import Estimate, mean_by_t


class Cells:
    """Cells of one run."""

    def __init__(self, run: str) -> None:
        rows = read_rows(pages.DOCS / "threats" / "cells.jsonl", None, "cells.jsonl")[0]
        self.rows = [row for row in rows if row["run"] == run and row["status"] != "failed"]

    def of(self, name: str | None, defense: str = "none", variant: str = "team", **arguments: Any) -> list[Row]:
        """One row per seed, of an attack with exactly these arguments, or without an attack if the name is None."""
        wanted = None if name is None else (name, arguments)
        return [
            row
            for row in self.rows
            if (row["variant"], row["defense_label"]) == (variant, defense)
            and (row["attack"] and (row["attack"]["name"], row["attack"]["arguments"])) == wanted
            and not row["conditions_label"]
        ]


def metric(rows: Sequence[Row], name: str) -> Estimate:
    """Mean over seeds."""
    return mean_by_t([row["metrics"][name] for row in rows])


def of_ledger(rows: Sequence[Row], part: str, whole: str) -> float:
    """A share of messages over all seeds; NaN if there are none."""
    total = sum(row["ledger"][whole] for row in rows)
    return sum(row["ledger"][part] for row in rows) / total if total else math.nan


def line(axes: Any, at: Sequence[float], found: Sequence[Estimate], label: str, color: str) -> None:
    """Plot a curve with its interval."""
    ends = [e.interval or (e.value, e.value) for e in found]
    axes.fill_between(at, [a for a, _ in ends], [b for _, b in ends], color=color, alpha=0.2, lw=0)
    axes.plot(at, [e.value for e in found], "o-", color=color, ms=4, label=label)


def save(figure: Any, name: str) -> str:
    """Write a figure and return the markdown that shows it."""
    figure.savefig(pages.DOCS / "threats" / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return f"![{name.replace('_', ' ')}]({name}.svg)\n"


def replay() -> str:
    """Write the page on replay against a team that learned what to say."""
    cells = Cells(CAPTURE)
    clean, silent = metric(cells.of(None), "mean_steps"), metric(cells.of(None, variant="control"), "mean_steps")
    checked = metric(cells.of(None, "authenticate"), "mean_steps")
    rows, curves = [], {True: [], False: []}
    for age in AGES:
        for suppress in (True, False):
            found = cells.of("replay", age=age, suppress=suppress)
            guarded = cells.of("replay", "authenticate", age=age, suppress=suppress)
            curves[suppress].append(metric(found, "mean_steps"))
            rows.append(
                [
                    str(age),
                    "instead" if suppress else "in addition",
                    pages.text(metric(found, "mean_steps")),
                    pages.text(metric(found, "control_steps")),
                    pages.text(metric(found, "attack_success")),
                    pages.text(metric(guarded, "mean_steps")),
                ]
            )
    figure, axes = plt.subplots(figsize=(5.2, 3))
    for (suppress, found), color in zip(curves.items(), COLORS, strict=False):
        line(axes, AGES, found, f"copies {'instead of' if suppress else 'in addition to'} fresh messages", color)
    for level, label, style in ((clean.value, "clean", ":"), (silent.value, "without messages", "--")):
        axes.axhline(level, color="black", lw=0.8, ls=style, label=label)
    axes.set_xlabel("age of the copies in steps")
    axes.set_ylabel("steps to capture")
    axes.set_xticks(AGES)
    axes.legend(fontsize=7, loc="upper right", bbox_to_anchor=(1, 0.92))
    worst = max(curves[True], key=lambda e: e.value)
    mixed = max(curves[False], key=lambda e: e.value)
    lost = metric(cells.of("replay", "authenticate", age=AGES[1], suppress=True), "mean_steps")
    header = ("age", "copies", "steps", "steps, no-op control", "success", "steps with `authenticate`")
    return f"""# Replay of learned messages

*Threat.* An attacker on all links records every envelope and delivers the copy that is `age` steps old, including its
seal, either instead of the fresh message or in addition to it. It cannot forge: the guard compares each copy with what
was on the wire. It knows the protocol. Risk `ua.l2.session_manipulation`.

*Why it should matter.* A learned message says what its sender sees now. Nothing in its payload tells its age unless
training made use of that, so a receiver has no reason to doubt a copy: it is a genuine message from another moment.

*Method.* Predator-Capture-Prey, CommFormer with a learned graph, 3 trained teams, 1024 greedy episodes each, the same
episodes in every row. The no-op control delivers as many messages in the same places, each with what its sender says
now. Intervals are Student's over teams.

{table(header, rows)}
{save(figure, "replay")}
*Result.* The clean team needs {pages.text(clean)} steps, a team without messages {pages.text(silent)}. With copies
instead of fresh messages it needs {worst.value:.1f} steps at most, with copies in addition to them {mixed.value:.1f}:
old messages are better than none. Copies arrive from step `age` on, so very old ones come too late to matter in short
episodes.

`authenticate` checks freshness under a seal. It rejects every copy that is older than its window of one step, so replay
*in addition* to fresh messages costs nothing ({pages.text(checked)} steps without an attack). Replay *instead* of fresh
messages becomes loss, and that costs this team more than the old messages did: at age 2, {lost.value:.1f} steps instead
of {curves[True][1].value:.1f}. No check at the receiver can restore what an attacker on the link holds back.
"""


def sybil() -> str:
    """Write the page on look-alikes in the directory that a trained team chooses from."""
    cells = Cells(MARKET)
    clean, silent = cells.of(None), cells.of(None, variant="control")
    rows = [["none", "", pages.text(metric(clean, "mean_return")), "", "", pages.text(metric(clean, "misrouted"))]]
    counts = []
    for count in COPIES:
        found = cells.of("sybil", count=count)
        counts.append(found)
        rows.append(row_of(str(count), "0.05", found))
    rows += [row_of("6", str(distance), cells.of("sybil", distance=distance)) for distance in DISTANCES[1:]]
    figure, panels = plt.subplots(1, 2, figsize=(8, 3))
    at = [0, *COPIES]
    line(panels[0], at, [metric(c, "misrouted") for c in (clean, *counts)], "tasks that look-alikes got", COLORS[1])
    panels[0].set_ylabel("share of tasks handed over")
    line(panels[1], at, [metric(c, "mean_return") for c in (clean, *counts)], "team under attack", COLORS[0])
    panels[1].axhline(
        metric(silent, "mean_return").value, color="black", lw=0.8, ls="--", label="team without messages"
    )
    panels[1].set_ylabel("return")
    for axes in panels:
        axes.set_xlabel("look-alikes")
        axes.legend(fontsize=7)
    figure.tight_layout()
    one, many = metric(counts[0], "misrouted"), metric(counts[-1], "misrouted")
    return f"""# Sybil registration against a team that learned whom to ask

*Threat.* A newcomer reads the public cards and registers many of its own, under names for which it holds the keys.
Each claims what the card that it resembles claims, off by at most `distance` in each skill. There are no workers
behind these cards: tasks that they receive stay undone until their deadline. The newcomer cannot touch others' cards,
the hub, or messages. Risks `aa.l2.registration_pollution` and `aa.l2.dos`.

*Method.* `task_market`: requesters find workers in the directory, hear what workers say, and hand over tasks with
deadlines. 3 trained teams, {clean[0]["episodes"]} greedy episodes each, the same in every row. The no-op control
registers as many cards, which claim nothing and so are never chosen. *Damage* is the return lost against that control,
paired. Intervals are Student's over teams, which differ much in how well they do.

{table(("look-alikes", "distance", "return", "return, no-op control", "damage", "tasks that look-alikes got"), rows)}
{save(figure, "sybil")} *Result.* One look-alike gets {one.value:.0%} of all tasks, {COPIES[-1]} get {many.value:.0%};
the less they resemble their models, the more they get. That costs {damage(counts[-1]).value:.2f} of return at
{COPIES[-1]}. Their mere presence costs more: the control lowers the return from
{metric(clean, "mean_return").value:.2f} to {metric(counts[-1], "control_return").value:.2f}, probably because cards
keep the hub busy and fill its answers. A team that communicates chooses members by what they say, and strangers say
nothing. """


def attackers() -> str:
    """Write the page on attackers that are trained against a frozen team."""
    found = json.loads((pages.DOCS / "threats" / "attackers.json").read_text(encoding="utf-8"))

    def over(name: str, key: str) -> Estimate:
        return mean_by_t([seed[key] for seed in found[name]])

    rows = []
    for name in found:
        each = ", ".join(f"{seed['steps']:.2f}" for seed in found[name])
        shown = [pages.text(over(name, "steps")), each]
        rows.append(
            [name, *shown, *(pages.text(over(name, key), 1 + (key != "touched")) for key in ("success", "touched"))]
        )
    figure, axes = plt.subplots(figsize=(6, 0.28 * len(found) + 0.6))
    for place, name in enumerate(found):
        e = over(name, "steps")
        low, high = e.interval or (e.value, e.value)
        color = COLORS[1] if "learned" in name else COLORS[0]
        axes.plot([low, high], [place, place], color=color, lw=2)
        axes.plot(
            [seed["steps"] for seed in found[name]], [place] * len(found[name]), "o", color=color, ms=4, alpha=0.5
        )
    axes.set_yticks(range(len(found)), list(found), fontsize=7)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel("steps to capture")
    axes.grid(axis="x", alpha=0.25)
    rewriting, noise = over("rewriting: learned", "steps"), over("rewriting: random noise", "steps")
    white, best = (
        over("rewriting: gradient (white box)", "steps"),
        over("rewriting: gradient, blind agent's link", "steps"),
    )
    masking, chance = over("masking: learned", "steps"), over("masking: random messages", "steps")
    aimed = over("masking: blind agent's link", "steps")
    moved = [over(f"{kind}: learned on another team", "steps").value for kind in ("rewriting", "masking")]
    return f"""# Trained attackers

*Threat.* An attacker on all links that knows the protocol, and of the team only its rewards. It is trained like a
team (`agentcomm train`, environment `attacker`): each message on the wire is one of its agents, which sees the
payload, the claimed sender, the receiver, the step, and the remaining budget. It earns what the frozen team loses,
less a price for the size of its changes. `learned` rewrites messages: it leaves a message alone, negates it, or moves
it towards one of four messages that it has heard honest agents send. `mask` drops messages (after DMAC, arXiv
2504.21278). The guard is in force in training and afterwards.

*Method.* Predator-Capture-Prey, three CommFormer teams with a learned graph, and an attacker for each: MAPPO, 242,000
steps. Each may touch 24 messages per episode; rewriting changes every number by at most 0.5. 1024 greedy episodes per
team, the same in every row; intervals are Student's over teams. Gradient attacks know the policy, look one step ahead,
and spend their budget as early as they can.

{table(("attack", "steps", "each team", "success", "messages touched"), rows)}
{save(figure, "learned_attackers")}
*Result.* The trained rewriter takes the team to {pages.text(rewriting)} steps, noise of the same size and budget to
{pages.text(noise)}. It does more than a gradient attack that knows the policy ({pages.text(white)}; on the link that
matters most {pages.text(best)}), which knows the policy but not the task. The trained masker takes the team to
{pages.text(masking)}, masking random messages to {pages.text(chance)}, masking the link that matters most to
{pages.text(aimed)}. An attacker that was trained on one team does less to another: {moved[0]:.1f} steps by rewriting,
{moved[1]:.1f} by masking.
"""


def row_of(count: str, distance: str, found: Sequence[Row]) -> list[str]:
    """A row of the table."""
    shown = [metric(found, "mean_return"), metric(found, "control_return"), damage(found), metric(found, "misrouted")]
    return [count, distance, *(pages.text(e) for e in shown)]


PAGES: dict[str, Callable[[], str]] = {"replay": replay, "sybil": sybil, "learned_attackers": attackers}


def main() -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        write_text(pages.DOCS / "threats" / f"{name}.md", page())


if __name__ == "__main__":
    typer.run(main)
