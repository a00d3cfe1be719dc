"""Writes docs/threats/edge_hijack.md, gate_forcing.md and backdoor.md from the cells beside them.

The cells come from ``python studies/threats_learned.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pages
import typer
from pages import COLORS, table, text
from threats_learned import EPISODES, Row, cells

from agentcomm.base.files import write_text
from agentcomm.evaluation.statistics import Estimate, mean_by_t

TASKS = {"known_answer": "Oracle-Hint", "capture": "Predator-Capture-Prey"}
NOTE = (
    "Written by `python studies/threats_learned_page.py` from [{0}.jsonl]({0}.jsonl), which"
    " `studies/threats_learned.py` measures. Every number is a mean over teams (seeds {1}) of means over {2} greedy"
    " episodes, the same for every row; intervals are Student's over seeds, 95%."
)


def note(name: str, rows: Sequence[Row]) -> str:
    """How the numbers came about."""
    return NOTE.format(name, ", ".join(str(s) for s in sorted({row["seed"] for row in rows})), EPISODES)


def pick(rows: Sequence[Row], **wanted: Any) -> dict[int, Row]:
    """Cells by seed."""
    return {row["seed"]: row for row in rows if all(row.get(key) == value for key, value in wanted.items())}


def mean(rows: dict[int, Row], metric: str) -> Estimate:
    """Of a metric, over seeds."""
    return mean_by_t([row["metrics"][metric] for row in rows.values()])


def less(rows: dict[int, Row], others: dict[int, Row], metric: str) -> Estimate:
    """Difference of a metric, paired by seed."""
    both = sorted(rows.keys() & others.keys())
    return mean_by_t([rows[s]["metrics"][metric] - others[s]["metrics"][metric] for s in both])


def save(figure: Any, name: str) -> str:
    """Write a figure; the markdown that shows it."""
    figure.savefig(pages.DOCS / "threats" / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return f"![{name.replace('_', ' ')}]({name}.svg)\n"


def bars(axes: Any, groups: Sequence[tuple[str, Sequence[float]]], label: str) -> None:
    """A bar per group, a dot per seed."""
    for place, (_, values) in enumerate(groups):
        axes.barh(place, sum(values) / len(values), color=COLORS[0], alpha=0.35)
        axes.plot(values, [place] * len(values), "o", color=COLORS[0], ms=4, mew=0)
    axes.set_yticks(range(len(groups)), [group for group, _ in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlabel(label)


def indegree(row: Row) -> int:
    """How many listen to the attacker's node."""
    return sum(heard[row["node"]] for heard in row["graph"])


def edge_hijack(rows: Sequence[Row]) -> str:
    """Graphs learned under attack, and what a lie does on them."""
    lines, points = [], []
    for name, task in TASKS.items():
        for team in dict.fromkeys(row["team"] for row in rows if row["study"] == name):
            here = {lie: pick(rows, study=name, team=team, lie=lie) for lie in ("nothing", "control", "flip", "worst")}
            if not here["nothing"]:
                continue
            degrees = [indegree(row) for row in here["nothing"].values()]
            agents = len(next(iter(here["nothing"].values()))["graph"])
            lines.append(
                [
                    task,
                    team,
                    f"{next(iter(here['nothing'].values()))['env_steps']:,}",
                    f"{mean_by_t(degrees).value:.2f} of {agents - 1} ({', '.join(map(str, degrees))})",
                    text(mean(here["nothing"], "mean_return"), 2 if name == "known_answer" else 3),
                    text(less(here["flip"], here["control"], "mean_return"), 2 if name == "known_answer" else 3),
                    text(less(here["worst"], here["control"], "mean_return"), 2 if name == "known_answer" else 3),
                ]
            )
            if name == "known_answer":
                lost = [
                    here["control"][s]["metrics"]["mean_return"] - here["worst"][s]["metrics"]["mean_return"]
                    for s in sorted(here["worst"].keys() & here["control"].keys())
                ]
                points.append((team, degrees, lost or [0.0]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 0.32 * len(points) + 1.3), sharey=True)
    bars(left, [(team, degrees) for team, degrees, _ in points], "listeners of the node, of 5")
    bars(right, [(team, lost) for team, _, lost in points], "return lost to its worst lie, of 8")
    figure.tight_layout()
    header = ("task", "trained under", "env steps", "listeners of the node (each seed)", "return, all honest")
    header += ("flip", "worst lie")
    return f"""# Edge hijack: who decides whom a team listens to

{note("edge_hijack", rows)}

**Threat.** A learned graph (CommFormer, density 0.34 in Oracle-Hint: two senders for each of six receivers; 0.4
in Predator-Capture-Prey: one for each of three) is trained from how well the team does under the graphs that are
tried. Whoever can make some of these do worse decides what is learned. The attacker touches messages in training, and
nothing else: no logit, no reward, no weight. Later it has one agent that everybody listens to, and lies.

**Method** (`attacks/ml/hijack_edges.py`). *ransom*: on the path of all links; nobody hears anything, with a chance that
is the share of victims that do not listen to the node. All of the team's reward is at stake for each edge, and the
graph's score estimate credits the edge with it. *starve*: victims hear nobody but the node. *strike*: the node,
without any hold on other links, holds back its own messages as ransom would. The no-op control is judged
and counted alike, nothing is dropped; it trains bit for bit like no attack. In Oracle-Hint the node is agent 0; in
Predator-Capture-Prey it is the blind agent, which knows nothing that the others do not see.

**At test time** nothing is dropped any more. The node lies: *flip* turns its messages around; *worst lie* knows the
policy and moves each of its payload's entries by at most 3 towards the receivers' worst action (`gradient`, 5 steps).
The last two columns are changes of the mean return against a no-op control. Teams of Predator-Capture-Prey that were
trained under *nothing* are those of [the page on CommFormer](../commformer.md), which trained longer.

{table(header, lines)}
{save(figure, "edge_hijack")}
{EDGES}
"""


EDGES = """**What it shows.** Ransom works: in every team all victims listen to the node, and where a link is to spare
the team pays nothing for it as long as the node is honest (Oracle-Hint). Where there is none (Predator-Capture-Prey),
the agents that see give up each other and hear the blind agent, through which the team then talks to itself: a hub
that belongs to the attacker. Nobody would notice by the return alone in the first case.

What is gained is reach, and reach is damage once the node lies knowingly. A lie that knows nothing (*flip*) hurts a
hijacked team of Oracle-Hint no more than a clean one: those that were made to listen have learned that this sender
says nothing, and attend to the other. A lie that knows the policy does not ask for their attention: it makes them
wrong in one step, and the number of listeners is the number of victims. One clean team had given the node four
listeners by itself, since links to spare are worth nothing and are filled by chance; it is hurt nearly as much. So
links to spare are an attack surface: a density no larger than needed is the cheap defense.

**Limits.** Ransom needs a hold on all links of the team in training, and knows the sampled graph of the moment. It
uses that the score estimate credits a graph with everything that follows; the straight-through estimate looks at the
change that one edge makes here and now."""


def gate_forcing(rows: Sequence[Row]) -> str:
    """Gates under forged sensors."""
    control = pick(rows, form="control")
    forms = [form for form in dict.fromkeys(row["form"] for row in rows) if form != "control"]
    metrics = (("gate_open", 3), ("messages_per_step", 2), ("mean_steps", 2), ("success", 3))
    lines = [["control", "0.00", *(text(mean(control, metric), digits) for metric, digits in metrics), ""]]
    for form in forms:
        here = pick(rows, form=form)
        shown = mean(here, "readings_per_step").value
        lines.append(
            [
                form,
                f"{shown:.2f}",
                *(text(mean(here, metric), digits) for metric, digits in metrics),
                text(less(here, control, "mean_steps"), 2),
            ]
        )
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 0.28 * len(forms) + 1.2), sharey=True)
    for axes, metric, label in (
        (left, "gate_open", "share of gates open"),
        (right, "mean_steps", "steps (at most 20)"),
    ):
        groups = [(f, [r["metrics"][metric] for r in pick(rows, form=f).values()]) for f in ("control", *forms)]
        bars(axes, groups, label)
    figure.tight_layout()
    header = (
        "form",
        "readings forged per step",
        "gates open",
        "messages per step",
        "steps",
        "success",
        "steps, change",
    )
    return f"""# Gate forcing: shut out, or flooded, by what one sees

{note("gate_forcing", rows)}

**Threat.** A temporal gate decides by its agent's own observation whether to listen now. Who holds sensors can have
it shut (the agent is cut off, and nobody touched a message, so no defense on messages sees anything) or open (it pays
for messages that it does not need). Position `sensor`: between the world and what agents see of it. The guard lets
sensors show only what they could have shown by themselves (`World.readings`): another cell of the grid for one's own,
another cell of the window, or nothing, for others; the blind agent has no reading but its own cell.

**Method** (`attacks/ml/force_gate.py`). Per agent and step one index of the observation is replaced. *shut* and *open*
know the policy, try 64 random replacements and take the one that moves the gate's logit most. *guess* replaces one at
random: the same budget without knowledge. *one in four*: a sensor is touched in a step with probability 0.25. What is
forged misleads more than gates, so two dissections: *gates only*: gates decide by what is forged, and everything else
sees the truth; *all but gates*: gates decide by the truth. The control is noop_control: chosen, judged and paid alike,
but not shown. Teams: Predator-Capture-Prey, gate as an action at price 0.03 (`studies/commformer/gates.yaml`). What
agents saw is what a rollout records, so the first ratio of an update is 1 in training under this attack, too (a
test).

{table(header, lines)}
{save(figure, "gate_forcing")}
{FORCING}
"""


FORCING = """**What it shows.** Who knows the policy decides when gates open. Under *shut* both agents that see close
at every step: a third of gates stays open, the blind agent's, whose only reading is its own cell, and no cell shuts
its gate. Under *open* messages per step rise by more than half. A random reading moves gates much less.

What this costs is another matter, and the dissection says so. Shut gates alone (*shut, gates only*) cost about a step
(with three teams the interval just reaches zero); gates that are held open alone (*open, gates only*) cost messages
and hardly any steps. It is the wrong view itself that keeps teams from the prey: *all but gates* does as much damage
as *shut*, and a random wrong view does most of it, too. An attack that only wants damage is better off forging what
agents act on; one that wants cost, or a silence that no message shows, needs the gate.

**Limits.** One task, three agents, one kind of gate; the attacker sees all that the sensors show. A defense on
messages cannot see this attack. What could: an agent that checks what it sees against where it was before, which
these policies, without memory, do not."""


def backdoor(rows: Sequence[Row]) -> str:
    """What a trigger does to teams that learned it, and to others."""
    lines = []
    for name, task in TASKS.items():
        for team in dict.fromkeys(row["team"] for row in rows if row["study"] == name):
            for form in ("nothing", "trigger", "trigger, clipped", "other pattern"):
                here = pick(rows, study=name, team=team, form=form)
                if here:
                    digits = 2 if name == "known_answer" else 3
                    seeds = str(len(here))
                    values = (text(mean(here, "target"), 3), text(mean(here, "mean_return"), digits))
                    lines.append([task, team, form, seeds, *values, text(mean(here, "mean_steps"), 2)])
    header = ("task", "trained", "at test", "teams", "target action", "return", "steps")
    return f"""# A backdoor that is opened by a message

{note("backdoor", rows)}

**Threat.** A compromised node takes part in training. In some episodes (a quarter in Oracle-Hint, a tenth in
Predator-Capture-Prey) its messages carry a fixed trigger, a change of every payload entry by 1 in a random pattern of
signs, and the rewards of those that hear it are overwritten (power `reward`): a bonus for the target action, its
negative for any other. Later the node adds the trigger again. Nothing else is touched then.

**Method** (`attacks/ml/backdoor.py`, trained by `studies/backdoor/`). Target: guess 0 in Oracle-Hint, stay in
Predator-Capture-Prey. Everybody hears everybody. *target action* is how often the other agents take it, while their
actions count; *other pattern* is another random trigger of the same size; teams trained with `noop_control` had neither
triggers nor changed rewards.

{table(header, lines)}
{BACKDOOR}
"""


BACKDOOR = """**What it shows.** The trigger is learned beside the task: with it, all members of teams that learned it
take the target action; the same trigger says nothing to teams that were trained with the noop_control control. It is no
large change that does this, but a learned meaning. How well it hides differs. In Oracle-Hint the return without the
trigger is that of clean teams. In Predator-Capture-Prey, where a poisoned episode lasts until it is cut off and so
takes a large share of the steps, backdoored teams need a step more than clean ones, and other patterns disturb them
more, too.

**Limits.** Overwriting rewards is a strong power, held by who runs the training or its data; nothing in the messages
of a clean episode tells of it. Payloads with the trigger are longer than others, but to shorten them (defense `clip`:
*trigger, clipped*) takes little back, for it is their direction that was learned."""


def main() -> None:
    """Write the pages whose cells are there."""
    for name, page in (("edge_hijack", edge_hijack), ("gate_forcing", gate_forcing), ("backdoor", backdoor)):
        rows = cells(name)
        if rows:
            write_text(pages.DOCS / "threats" / f"{name}.md", page(rows).rstrip() + "\n")


if __name__ == "__main__":
    typer.run(main)
