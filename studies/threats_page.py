"""Writes docs/threats.md: every risk, the attacks that carry it out, and their measured effects.

python studies/threats_page.py    first copies existing cells of runs/threats to docs/threats/cells.jsonl
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import pages
import typer
from pages import COLORS, Row, table
from run import ROOT
from threats import BUDGETS, DEFENSES
from threats_effects import Measured, Other, collect, damage, low, measured, others, works

from agentcomm.base import registry
from agentcomm.base.files import write_text
from agentcomm.base.risks import RISKS
from agentcomm.evaluation.statistics import Estimate

TROJAN = "aa.l2.exploitation_trojan"


def linked(found: Sequence[Other]) -> str:
    """Links to the pages of attacks that have one of their own."""
    own = {"threats/edge_hijack.md": ["hijack_edges"], "threats/gate_forcing.md": ["force_gate"]}
    own["threats/backdoor.md"] = ["backdoor"]
    for other in found:
        own.setdefault(other.page, []).append(other.name)
    return ", ".join(f"[{', '.join(f'`{name}`' for name in names)}]({page})" for page, names in own.items())


def number(e: Estimate, digits: int = 2) -> str:
    """``0.41 (0.30 to 0.52)``."""
    return pages.text(e, digits)


def risks(everything: Sequence[Measured], elsewhere: Sequence[Other]) -> str:
    """The catalogue: risk, attacks, environments, clearest measured effect, defenses that reduce damage."""
    attacks = {name: registry.find("attack", name) for name in registry.names("attack")}
    rows = []
    for risk, about in RISKS.items():
        names = [name for name, attack in attacks.items() if risk in attack.risks]
        found: list[Measured | Other] = [m for m in (*everything, *elsewhere) if m.name in names]
        if risk == TROJAN:  # an attack on links between others is not a trojan
            found = [m for m in found if isinstance(m, Other) or m.rows[0]["attack"]["threat"]["position"] != "edge"]
        best = max(found, key=lambda m: low(m.effect) / m.scale, default=None)
        places = ", ".join(dict.fromkeys(m.place.replace("_", " ") for m in found))
        effect = about.absent or "not measured"
        if best is not None:
            effect = f"`{best.label}`: {number(best.effect)} {best.unit}" + (
                "" if works(best.effect) else ", not shown"
            )
        helps = lessening([m for m in found if isinstance(m, Measured)])
        rows.append([f"`{risk}`", about.definition, ", ".join(f"`{n}`" for n in names), places, effect, helps])
    return table(
        (
            "risk",
            "what goes wrong",
            "attacks",
            "measured in",
            "clearest effect",
            "defenses that halve some attack's damage",
        ),
        rows,
    )


def lessening(found: Sequence[Measured]) -> str:
    """Defenses that reduce the damage of some attack to less than half."""
    helps = [
        defense
        for defense in DEFENSES
        if any(
            works(m.damage) and cells and damage(cells).value < 0.5 * m.damage.value
            for m in found
            for cells in [m.defended.get(defense, [])]
        )
    ]
    return ", ".join(f"`{d}`" for d in helps)


def attacks(everything: Sequence[Measured], run: str) -> str:
    """Effects of each form in one run."""
    here = [m for m in everything if m.form.run == run]
    rows, harmful = [], any(m.form.judge == "harm" for m in here)
    defenses = [d for d in DEFENSES if any(m.defended.get(d) for m in here)]
    for m in here:
        threat = m.rows[0]["attack"]["threat"]
        shown = [f"`{m.form.attack}`", threat["position"], " ".join(threat["powers"]), threat["knowledge"]]
        shown += [f"{np.mean([r['metrics']['mean_return'] for r in m.rows]):.2f}", number(m.damage), share(m.share)]
        shown += [number(m.success), *([number(m.effect)] if harmful else [])]
        shown += [number(damage(cells)) if (cells := m.defended.get(d)) else "" for d in defenses]
        rows.append(shown)
    header = ("attack", "position", "powers", "knowledge", "return", "damage", "share of messages' worth", "success")
    harm = ("harm done",) if harmful else ()
    return table((*header, *harm, *(f"damage with `{d}`" for d in defenses)), rows)


def share(value: float) -> str:
    """``83%``."""
    return "" if math.isnan(value) else f"{value:.0%}"


def curves(everything: Sequence[Measured], run: str) -> str:
    """Plot damage against the budget, in one panel per attack."""
    shown = [m for m in everything if m.form.run == run and all(m.budgets.values()) and m.budgets]
    columns = 4
    height = math.ceil(len(shown) / columns)
    figure, panels = plt.subplots(height, columns, figsize=(9, 1.5 * height + 0.4), sharex=True, squeeze=False)
    ticks = [0, *BUDGETS, "all"]
    for place, axes in enumerate(panels.flat):
        if place >= len(shown):
            axes.axis("off")
            continue
        m = shown[place]
        found = [Estimate(0.0, (0.0, 0.0), 0), *(damage(m.budgets[limit]) for limit in BUDGETS), m.damage]
        ends = [e.interval or (e.value, e.value) for e in found]
        at = range(len(found))
        axes.fill_between(at, [a for a, _ in ends], [b for _, b in ends], color=COLORS[0], alpha=0.2, lw=0)
        axes.plot(at, [e.value for e in found], "o-", color=COLORS[0], ms=3)
        axes.set_title(m.form.attack, fontsize=7)
        axes.axhline(m.clean - m.floor, color=COLORS[1], lw=0.8, ls="--")
        axes.set_xticks(list(at), [str(tick) for tick in ticks], fontsize=7)
        axes.tick_params(axis="y", labelsize=7)
    figure.tight_layout()
    where = pages.DOCS / "threats" / f"{run.partition('-')[0]}.svg"
    figure.savefig(where, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return f"![damage against budget](threats/{where.name})\n"


def falling(everything: Sequence[Measured]) -> str:
    """Attacks whose damage falls with a larger budget by more than the intervals allow."""
    lines = []
    for m in everything:
        steps = [damage(m.budgets[limit]) for limit in BUDGETS if m.budgets.get(limit)] + [m.damage]
        for first, second in itertools.pairwise(steps):
            if first.interval and second.interval and second.interval[1] < first.interval[0]:
                lines.append(f"`{m.form.attack}` ({first.value:.2f}, then {second.value:.2f})")
                break
    if not lines:
        return "Damage never falls measurably as the budget grows: no interval lies below that of a smaller budget.\n"
    return "Damage falls at a larger budget for: " + "; ".join(lines) + ".\n"


def page(rows: Sequence[Row]) -> str:
    """The page."""
    everything, elsewhere = measured(rows), others()
    shown = {
        risk for m in (*everything, *elsewhere) if works(m.effect) for risk in registry.find("attack", m.name).risks
    }
    absent = [risk for risk, about in RISKS.items() if about.absent]
    episodes = "/".join(map(str, sorted({row["episodes"] for row in rows})))
    parts = []
    for run in dict.fromkeys(m.form.run for m in everything):
        clean = next(m.clean for m in everything if m.form.run == run)
        floor = next(m.floor for m in everything if m.form.run == run)
        without = "" if math.isnan(floor) else f", without messages {floor:.2f}"
        title = run.partition("-")[0].replace("_", " ").capitalize()
        parts.append(
            f"## {title}\n\nReturn without an attack {clean:.2f}{without}.\n\n"
            f"{attacks(everything, run)}\n{curves(everything, run)}"
        )
    return f"""# The catalogue of threats

The risks of communicating agents, the attacks that carry them out, and what these did to trained, undefended teams.
`python studies/threats.py` evaluates the attacks; `python studies/threats_page.py` writes this page from the registry
and [cells.jsonl](threats/cells.jsonl). `agentcomm list attacks NAME` shows the arguments and threat model of an attack.

Each number is a mean over teams (3 seeds, {episodes} episodes each) with Student's 95% interval over teams. *Damage*
is the return lost against the attack's no-op control in the same episodes: the control touches as many messages and
spends as much of its budget, but changes nothing. *Success* is the share of episodes in which the attack's own
success predicate holds, minus that share for its control; intervals may extend beyond 0 and 1 where teams differ
much. *Share of messages' worth* is damage divided by what the team earns more than a team without messages; above
100%, the team would do better in silence. Controls of attacks on the directory have a cost of their own, because
cards keep the hub busy. In figures, the budget is the number of messages (or cards) touched per episode, and the
dashed line is what messages are worth. For each risk, the table shows the effect whose interval starts highest, in
shares of what messages are worth. Attacks without a table below have pages of their own: {linked(elsewhere)}.

**{len(shown)} of {len(RISKS)} risks** have an attack whose effect is above zero with its whole interval.
{len(absent)} have no attack here: {"; ".join(f"`{risk}`, because {RISKS[risk].absent}" for risk in absent)}.

{risks(everything, elsewhere)}
{falling(everything)}
{chr(10).join(parts)}"""


def main(root: Annotated[Path, typer.Argument(help="where folders of runs lie")] = ROOT) -> None:
    """Write docs/threats.md."""
    write_text(pages.DOCS / "threats.md", page(collect(root)))


if __name__ == "__main__":
    typer.run(main)
