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
# How pages name teams and forms whose names in the cells are those of config keys and arguments.
NAMES = {"noop_control": "no-op control", "nothing": "no attack", "shut": "closed"}
NOTE = (
    "`studies/threats_learned.py` measures the cells in [{0}.jsonl]({0}.jsonl), and"
    " `python studies/threats_learned_page.py` writes this page from them. Each number is a mean over teams (seeds {1})"
    " of means over {2} greedy episodes, the same for every row; intervals are Student's over seeds, 95%."
)


def note(name: str, rows: Sequence[Row]) -> str:
    """How the numbers were measured."""
    return NOTE.format(name, ", ".join(str(s) for s in sorted({row["seed"] for row in rows})), EPISODES)


def shown(name: str) -> str:
    """A team or form as pages name it."""
    first, comma, rest = name.partition(",")
    return NAMES.get(first, first) + comma + rest


def pick(rows: Sequence[Row], **wanted: Any) -> dict[int, Row]:
    """Cells by seed."""
    return {row["seed"]: row for row in rows if all(row.get(key) == value for key, value in wanted.items())}


def mean(rows: dict[int, Row], metric: str) -> Estimate:
    """Mean of a metric over seeds."""
    return mean_by_t([row["metrics"][metric] for row in rows.values()])


def less(rows: dict[int, Row], others: dict[int, Row], metric: str) -> Estimate:
    """Difference of a metric, paired by seed."""
    both = sorted(rows.keys() & others.keys())
    return mean_by_t([rows[s]["metrics"][metric] - others[s]["metrics"][metric] for s in both])


def save(figure: Any, name: str) -> str:
    """Write a figure and return the markdown that shows it."""
    figure.savefig(pages.DOCS / "threats" / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return f"![{name.replace('_', ' ')}]({name}.svg)\n"


def bars(axes: Any, groups: Sequence[tuple[str, Sequence[float]]], label: str) -> None:
    """Plot a bar per group and a dot per seed."""
    for place, (_, values) in enumerate(groups):
        axes.barh(place, sum(values) / len(values), color=COLORS[0], alpha=0.35)
        axes.plot(values, [place] * len(values), "o", color=COLORS[0], ms=4, mew=0)
    axes.set_yticks(range(len(groups)), [group for group, _ in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlabel(label)


def indegree(row: Row) -> int:
    """Number of agents that listen to the attacker's node."""
    return sum(heard[row["node"]] for heard in row["graph"])


def edge_hijack(rows: Sequence[Row]) -> str:
    """Graphs learned under attack, and the effect of lies on them."""
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
                    shown(team),
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
                points.append((shown(team), degrees, lost or [0.0]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 0.32 * len(points) + 1.3), sharey=True)
    bars(left, [(team, degrees) for team, degrees, _ in points], "listeners of the node, of 5")
    bars(right, [(team, lost) for team, _, lost in points], "return lost to its worst lie, of 8")
    figure.tight_layout()
    header = ("task", "trained under", "env steps", "listeners of the node (each seed)", "return, all honest")
    header += ("flip", "worst lie")
    return f"""# Edge hijack: who decides whom a team listens to

{note("edge_hijack", rows)}

**Threat.** A graph (CommFormer, density 0.34 in Oracle-Hint: two senders for each of six receivers; 0.4 in
Predator-Capture-Prey: one for each of three) is learned from how well the team does under the graphs that it samples.
An attacker that can make some of these do worse decides what is learned. It interferes with messages in training, and
with nothing else: no logits, no rewards, no weights. Later it has one agent that everybody listens to, and that lies.

**Method** (`attacks/ml/hijack_edges.py`). *ransom*: on all links; all messages of a step are dropped with a probability
that equals the share of victims that do not listen to the node. All of the team's reward is at stake for each edge, and
the graph's score estimate credits the edge with it. *starve*: victims hear nothing but the node. *strike*: the node,
which has no control over other links, holds back its own messages as ransom would. The no-op control decides and counts
in the same way, but drops nothing; training under it is bit-identical to training without an attack. In Oracle-Hint the
node is agent 0; in Predator-Capture-Prey it is the blind agent, which knows nothing that the others do not see.

**At test time** no messages are dropped. The node lies: *flip* negates its messages; *worst lie* knows the policy and
moves each entry of its payloads by at most 3 towards the receivers' worst action (`gradient`, 5 steps). The last two
columns are changes of the mean return against a no-op control. Teams of Predator-Capture-Prey that were trained under
*no attack* are those of [the page on CommFormer](../commformer.md), which trained longer.

{table(header, lines)}
{save(figure, "edge_hijack")}
{EDGES}
"""


EDGES = """**Result.** Ransom works: in every team, all victims listen to the node. Where there are spare links, the
team pays nothing for that as long as the node is honest (Oracle-Hint), and the return alone does not reveal the
attack. Where there are none (Predator-Capture-Prey), the agents that see stop listening to each other and listen to
the blind agent, through which the team then communicates: a hub that belongs to the attacker.

The attacker gains reach, and reach turns into damage once the node lies with knowledge of the policy. A lie without
that knowledge (*flip*) hurts a hijacked team of Oracle-Hint no more than a clean one: agents that were made to listen
have learned that this sender tells them nothing, and attend to the other one. A lie that knows the policy does not
depend on their attention: it makes them choose wrongly within one step, and every listener is a victim. One clean
team gave the node four listeners by itself, because spare links are worth nothing and are filled by chance; it is
hurt nearly as much. So spare links are an attack surface, and a density no larger than needed is a cheap defense.

**Limits.** Ransom needs control over all links of the team in training, and it knows the currently sampled graph. It
exploits that the score estimate credits a graph with everything that follows; the straight-through estimate considers
the immediate effect of a single edge."""


def gate_forcing(rows: Sequence[Row]) -> str:
    """Gates under forged sensors."""
    control = pick(rows, form="control")
    forms = [form for form in dict.fromkeys(row["form"] for row in rows) if form != "control"]
    metrics = (("gate_open", 3), ("messages_per_step", 2), ("mean_steps", 2), ("success", 3))
    lines = [["control", "0.00", *(text(mean(control, metric), digits) for metric, digits in metrics), ""]]
    for form in forms:
        here = pick(rows, form=form)
        forged = mean(here, "readings_per_step").value
        lines.append(
            [
                shown(form),
                f"{forged:.2f}",
                *(text(mean(here, metric), digits) for metric, digits in metrics),
                text(less(here, control, "mean_steps"), 2),
            ]
        )
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 0.28 * len(forms) + 1.2), sharey=True)
    for axes, metric, label in (
        (left, "gate_open", "share of gates open"),
        (right, "mean_steps", "steps (at most 20)"),
    ):
        groups = [(shown(f), [r["metrics"][metric] for r in pick(rows, form=f).values()]) for f in ("control", *forms)]
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
    return f"""# Gate forcing: cut off, or flooded, through forged sensors

{note("gate_forcing", rows)}

**Threat.** A temporal gate decides from its agent's own observation whether to listen in a step. An attacker that
controls sensors can close it (the agent is cut off although no message was touched, so defenses on messages see
nothing) or open it (the agent pays for messages that it does not need). Position `sensor`: between the world and what
agents observe. The guard lets sensors show only what they could have shown anyway (`World.readings`): another cell of
the grid for the agent's own; another cell of the window, or nothing, for others. The blind agent's only reading is
its own cell.

**Method** (`attacks/ml/force_gate.py`). In each step, one index of each agent's observation is replaced. *closed* and
*open* know the policy, try 64 random replacements and choose the one that moves the gate's logit most. *guess*
replaces an index at random: the same budget without knowledge. *one in four*: a sensor is forged in a step with
probability 0.25. Forged readings mislead more than the gates, so two forms separate the effects: with *gates only*,
gates decide by forged readings and everything else by true ones; with *all but gates*, gates decide by true readings.
The no-op control chooses, judges and spends in the same way, but shows true readings. Teams: Predator-Capture-Prey,
gates trained as actions at price 0.03 (`studies/commformer/gates.yaml`). Rollouts record what agents observed, so an
update's first probability ratio is 1 in training under this attack, too (tested).

{table(header, lines)}
{save(figure, "gate_forcing")}
{FORCING}
"""


FORCING = """**Result.** An attacker that knows the policy decides when gates open. Under *closed*, the gates of both
agents
that see are closed in every step. A third of the gates stays open: the blind agent's, whose only reading is its own
cell, and no cell closes its gate. Under *open*, messages per step rise by more than half. A random reading moves gates
much less.

The cost to the team is another matter, as the two separating forms show. Closed gates alone (*closed, gates only*) cost
about a step (with three teams, the interval just reaches zero); gates that are only held open (*open, gates only*) cost
messages and hardly any steps. It is the false view itself that keeps teams from the prey: *all but gates* does as much
damage as *closed*, and a random false view does most of that. An attack that aims at damage alone does better to forge
what agents act on; one that aims at costs, or at a silence that no message reveals, needs the gate.

**Limits.** One task, three agents, one kind of gate; the attacker sees everything that the sensors show. Defenses on
messages cannot see this attack. An agent could detect it by comparing what it sees with where it was before, but these
policies have no memory."""


AT_TEST = {"nothing": "no trigger"}


def backdoor(rows: Sequence[Row]) -> str:
    """The effect of a trigger on teams that learned it, and on others."""
    lines = []
    for name, task in TASKS.items():
        for team in dict.fromkeys(row["team"] for row in rows if row["study"] == name):
            for form in ("nothing", "trigger", "trigger, clipped", "other pattern"):
                here = pick(rows, study=name, team=team, form=form)
                if here:
                    digits = 2 if name == "known_answer" else 3
                    seeds = str(len(here))
                    values = (text(mean(here, "target"), 3), text(mean(here, "mean_return"), digits))
                    lines.append(
                        [task, shown(team), AT_TEST.get(form, form), seeds, *values, text(mean(here, "mean_steps"), 2)]
                    )
    header = ("task", "trained", "at test", "teams", "target action", "return", "steps")
    return f"""# A backdoor that a message opens

{note("backdoor", rows)}

**Threat.** A compromised node takes part in training. In some episodes (a quarter in Oracle-Hint, a tenth in
Predator-Capture-Prey) its messages carry a fixed trigger, a change of every payload entry by 1 in a random pattern of
signs, and the rewards of agents that hear it are overwritten (power `reward`): a bonus for the target action, its
negative for any other. After training, the node adds the trigger again and changes nothing else.

**Method** (`attacks/ml/backdoor.py`, trained by `studies/backdoor/`). Target action: guess 0 in Oracle-Hint, stay in
Predator-Capture-Prey. Everybody listens to everybody. *target action* is how often the other agents take it while their
actions count; *other pattern* is another random trigger of the same size; teams trained under the no-op control had
neither triggers nor changed rewards.

{table(header, lines)}
{BACKDOOR}
"""


BACKDOOR = """**Result.** Teams learn the trigger beside the task: with it, all other members of poisoned teams take the
target action, while teams trained under the no-op control take it no more often than without it. So it is not the size
of the change but a learned meaning that has this effect. How well the backdoor hides differs. In Oracle-Hint the return
without the trigger is that of clean teams. In Predator-Capture-Prey, where a poisoned episode lasts until it is
truncated and so accounts for a large share of the steps, backdoored teams need a step more than clean ones, and other
patterns disturb them more, too.

**Limits.** Overwriting rewards is a strong power, held by whoever runs the training or owns its data. The messages of a
clean episode show no trace of the backdoor. Payloads with the trigger are longer than others, but shortening them
(defense `clip`: *trigger, clipped*) restores little, because it is their direction that was learned."""


def main() -> None:
    """Write the pages whose cells are recorded."""
    for name, page in (("edge_hijack", edge_hijack), ("gate_forcing", gate_forcing), ("backdoor", backdoor)):
        rows = cells(name)
        if rows:
            write_text(pages.DOCS / "threats" / f"{name}.md", page(rows).rstrip() + "\n")


if __name__ == "__main__":
    typer.run(main)
