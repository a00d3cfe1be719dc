"""The cells that each study needs; studies share cells, and no cell is evaluated twice.

python studies/plan.py --count    prints how many cells there are, by run and study
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple

import typer
from scenarios import (
    CARRIED,
    CLIQUES,
    COLLISIONS,
    EIGHT,
    ELSEWHERE,
    ORDERED,
    OTHER_TASKS,
    PEERS,
    PRICED,
    SCENARIOS,
    WORTH,
)
from suite import (
    AGREEMENT,
    CAPTURE,
    CHAINS,
    CUTS,
    DROP,
    EXCLUSIVE,
    FRAGMENTED,
    FRAME,
    FRAMED,
    MINORITY,
    NOISE,
    OF_NINE,
    OUTVOTED,
    TARGETED,
    TASKS,
    TRAINED,
    TRAINED_UNDER,
    VOTE,
    able,
    installed,
)

from agentcomm.runs.choices import Choice, canonical

SEEDS = tuple(range(10))
# Of these runs, teams without messages were trained besides.
WITH_CONTROL = (
    "capture",
    CAPTURE.run,
    "reactor",
    "agreement",
    "agreement_9",
    "market",
    "collisions_16",
    "relay_line_memory",
    *ELSEWHERE,
)
Conditions = Mapping[str, Any]
OWN: Conditions = {}


class Grid(NamedTuple):
    """Attacks x defenses x conditions on the teams of a run.

    Attributes:
        run: Name of the published run.
        attacks: Written as for ``agentcomm evaluate --attack``.
        defenses: Groups such as ``authenticate+clip``, besides none.
        conditions: Fields of :class:`agentcomm.runs.conditions.Conditions` that differ from the run's own.
        teams: How many of the run's teams; None for all of them.
    """

    run: str
    attacks: tuple[str, ...] = ()
    defenses: tuple[str, ...] = ()
    conditions: tuple[Conditions, ...] = (OWN,)
    teams: int | None = None


@cache
def label(attack: str) -> str:
    """The label of an attack in rows."""
    return canonical("attack", Choice.parse(attack)).label


INSIDERS = ("insider", "evade", "abuse", "pollute", "leak", "contradict")


def other_sender(run: str, attack: str) -> str | None:
    """The same attack by agent 1, for attacks that agent 0 carries out with its messages; None for other attacks.

    In sparse graphs, not every team listens to agent 0. Such an attack is carried out by agents 0 and 1 in turn, which
    in Predator-Capture-Prey are the scouts, and its numbers are means over those that anybody listens to.
    """
    if attack == "tamper:node=0":
        return "tamper:node=1"
    name = attack.partition(":")[0]
    return f"{attack}{',' if ':' in attack else ':'}node=1" if name in INSIDERS else None


@cache
def group_label(defenses: str) -> str:
    """The label of a group of defenses in rows."""
    return (
        "+".join(canonical("defense", Choice.parse(name)).label for name in defenses.split("+") if name != "none")
        or "none"
    )


def limited(attack: str, **budget: int) -> str:
    """An attack with limits of its budget."""
    mark = "," if ":" in attack else ":"
    return f"{attack}{mark}budget={json.dumps(budget)}" if budget else attack


# Forms of attacks on messages; on Predator-Capture-Prey each runs against every defense.
ON_PATH = ("noise", "noise:epsilon=0.5", "tamper", "tamper:how=bias", "tamper:how=permute", "tamper:how=swap")
ON_PATH += ("tamper:how=zero", "partial", "drift", "replay", "delay", "reorder")
ON_PATH += ("drop", "drop:probability=0.5", "jam", "cut")
OUTSIDE = ("impersonate", "hijack", "flood")
INSIDE = ("tamper:node=0", "insider", "evade", "abuse", "pollute")
WHITE_BOX = ("gradient:epsilon=0.5", "gradient:epsilon=0.5,steps=1", "gradient:epsilon=0.5,goal=worst")
WHITE_BOX += ("rewrite:epsilon=2,steps=3", "rewrite:epsilon=2,blind=true")
FORMS = ON_PATH + OUTSIDE + INSIDE + WHITE_BOX
DEFENSES = ("authenticate", "clip", "authenticate+clip")
RESPONSES = ("authenticate+hold_last", "authenticate+quarantine")
# Forms under the responses to refused messages: those whose messages `authenticate` refuses.
REFUSED = ("noise", "noise:epsilon=0.5", "tamper", "partial", "drift", "replay", "impersonate", "flood", "reorder")

BUDGETS = (1, 2, 4, 8, 16)  # messages per episode
BUDGETED = ("drop", "delay", "replay", "noise", "tamper", "impersonate", "flood", "gradient:epsilon=0.5,steps=1")
NORMS = {
    "noise": (0.25, 0.5, 1.0, 2.0, 4.0),
    "gradient:steps=1": (0.125, 0.25, 0.5, 1.0),
    "rewrite:steps=3": (0.5, 1.0, 2.0, 4.0),
}

LINKS = tuple((sender, receiver) for sender in range(3) for receiver in range(3) if sender != receiver)
STARTS = (1, 2, 3, 4, 6)  # first attacked step; from step 0 is the attack without a limit
MOMENTS = (0, 1, 2, 3, 4, 6)  # the only attacked step: the team sends six messages per step
PER_STEP = 6
PLACED = ("drop", "tamper")

GATED = ("force_gate", "force_gate:goal=open", "force_gate:guess=true", "force_gate:probability=0.25")
GATED += ("force_gate:goal=open,probability=0.25", "jam", "drop", "tamper", "noise", "flood")

AGREEMENTS = ("agreement_1", "agreement_2", "agreement_3", "agreement")
DENSE = ("tamper", "tamper:node=0", "noise", "drop:probability=0.5", "drop")
GRAPHS = ("capture", "capture_random", "capture_full")
GRAPH_FORMS = ("drop", "drop:probability=0.5", "jam", "tamper", "tamper:node=0", "noise", "replay")

LEAKS = ("leak:epsilon=0.001", "leak", "leak:epsilon=0.1", "leak:bits=32")
CODECS = ("float16", "int8")
COVERT = ("covert:node=0", "covert:node=1", "covert:node=2", "covert:node=2,messages=2")
WARDENS = (0.05, 0.1, 0.2, 0.4)
READERS = ("eavesdrop", "infer:node=0", "infer:node=2")

OBEDIENCE = (0.0, 0.25, 0.5, 0.75, 1.0)
MARKET = ("sybil", "rank", "rank:knowledge=none", "copied_card", "description:claim=1", "recursive")
MARKET += ("rug_pull:turn=4", "scapegoat", "badmouth", "hub_poison", "blast", "half_open")
REACTOR = ("tamper", "drop", "noise", "gradient:goal=target,action=2,norm=l2,epsilon=2")
UNITED = ("contradict", "contradict:share=1", "stall", "churn", "churn:away=2")


def sized(attack: str, epsilon: float) -> str:
    """An attack with a largest change of payloads."""
    return f"{attack}{',' if ':' in attack else ':'}epsilon={epsilon}"


def moment(attack: str, step: int) -> str:
    """An attack on all messages of one step."""
    return limited(attack, start_step=step, per_episode=PER_STEP) if step else limited(attack, per_episode=PER_STEP)


def linked(attack: str, sender: int, receiver: int) -> str:
    """An attack on one link."""
    return f"{attack}:links=[[{sender}, {receiver}]]"


def watched(probability: float) -> str:
    """A warden that samples some actions again."""
    return f"warden:probability={probability}"


def aware(probability: float) -> str:
    """A covert sender that expects a warden."""
    return f"covert:node=2,resample={probability}"


SAMPLED = {"decisions": "sampled"}
MATRIX = (Grid("capture", FORMS, DEFENSES), Grid("capture", REFUSED, RESPONSES))
CONTROLLED: tuple[Conditions, ...] = (OWN, {"gates": "open"}, {"gates": "closed"}, {"gates": "random"})
SIZED = tuple(
    run
    for one in (*COLLISIONS.values(), *CLIQUES.values())
    for run in (one.run, *(one.graphs[name] for name in ("random", "full") if name in one.graphs))
)
STUDIES: dict[str, tuple[Grid, ...]] = {
    "defenses": (*MATRIX, Grid("agreement", DENSE, ("median",))),
    "budgets": (
        Grid("capture", tuple(limited(a, per_episode=n) for a in BUDGETED for n in BUDGETS)),
        Grid("capture", tuple(sized(a, e) for a, norms in NORMS.items() for e in norms)),
        Grid("capture", BUDGETED),
    ),
    "places": (
        Grid("capture", tuple(f"tamper:node={node}" for node in range(3))),
        Grid("capture", tuple(linked(a, *link) for a in PLACED for link in LINKS)),
        Grid("capture", (*PLACED, *(limited(a, start_step=t) for a in PLACED for t in STARTS))),
        Grid("capture", tuple(moment(a, t) for a in PLACED for t in MOMENTS)),
        Grid("capture", OUTSIDE),
    ),
    "gates": (
        Grid("capture_gated", GATED),
        *(Grid(run, (), (), CONTROLLED) for run in PRICED.values()),
        Grid("capture"),
    ),
    "graphs": (
        *(Grid(run) for one in SCENARIOS for run in (one.run, *one.graphs.values())),
        *(Grid(run) for run in EIGHT),
    ),
    "methods": tuple(Grid(run) for run in ("capture", *PEERS.values(), *ORDERED.values())),
    "tasks": tuple(Grid(run) for run in (*OTHER_TASKS, *(one.run for one in SCENARIOS))),
    "environments": tuple(Grid(run) for run in WORTH),
    "sizes": (
        *(Grid(run) for run in SIZED),
        Grid("cliques_64_embedded", (), (), (OWN, {"environment": CARRIED})),
        Grid("cliques_128_embedded"),
        Grid("agreement", (), (), (OWN, {"environment": {"members": 10}})),
        Grid("agreement_10"),
    ),
    "density": (
        *(Grid(run, DENSE) for run in AGREEMENTS),
        *(Grid(run, GRAPH_FORMS) for run in GRAPHS),
    ),
    "privacy": (
        Grid("capture", (*READERS, *LEAKS)),
        Grid("capture_gated", READERS[:1]),
        Grid("capture", ("leak",), (), tuple({"codec": codec} for codec in CODECS)),
        Grid("capture", COVERT, (), (SAMPLED,)),
        Grid("capture", ("covert:node=2",), tuple(watched(p) for p in WARDENS), (SAMPLED,)),
        *(Grid("capture", (aware(p),), (watched(p),), (SAMPLED,)) for p in WARDENS),
    ),
    "literature": (
        Grid("capture", ("gradient:epsilon=2,weakest=1", "gradient:epsilon=2,probability=0.33", *WHITE_BOX)),
        *(Grid(run) for run in (*GRAPHS, "capture_gated")),
        Grid("capture_fragments", CUTS, ("authenticate",)),
        *(Grid(run, DENSE) for run in AGREEMENTS),
        Grid("agreement", DENSE, ("median",)),
        Grid("capture", ("covert:node=2",), (), (SAMPLED,)),
    ),
    "countermeasures": (
        *(Grid(task.run, task.declared) for task in TASKS),
        *(Grid(task.run, task.attacks(one), (one.group,)) for task in TASKS for one in task.known),
        *(Grid(task.run, task.adaptive(one), (one.group,), teams=task.teams) for task in TASKS for one in task.known),
        *(Grid(CAPTURE.run, (attack,), (group,)) for group, attack in TARGETED),
        *(Grid(run, TRAINED_UNDER) for base, others in TRAINED.items() for run in (base, *others)),
        *(Grid(run, (MINORITY, DROP, NOISE)) for run in OF_NINE),
        *(
            Grid(name, (MINORITY, DROP, NOISE), (group,))
            for run, group in OUTVOTED.items()
            for name in (run, AGREEMENT.run)
        ),
        *(Grid(run, (), tuple(filter(installed, (VOTE,)))) for run in EXCLUSIVE),
        Grid(CAPTURE.run, tuple(filter(able, (FRAME,))), FRAMED),
        Grid(FRAGMENTED, CUTS, CHAINS),
    ),
    "threats": (
        *MATRIX,
        Grid("capture", ("directive",), (), tuple({"obedience": p} for p in OBEDIENCE)),
        Grid("capture", tuple(f"pollute:obedience={p}" for p in OBEDIENCE)),
        Grid("capture", (*READERS, "leak")),
        Grid("capture_gated", GATED[:2]),
        Grid("reactor", ("directive:action=2",), (), tuple({"obedience": p} for p in OBEDIENCE)),
        Grid("reactor", ("directive:action=2,node=0",), (), ({"obedience": 1.0},)),
        Grid("reactor", REACTOR),
        Grid("agreement", UNITED),
        Grid("capture_fragments", CUTS),
        Grid("market", MARKET),
        Grid("capture", ("covert:node=2",), (), (SAMPLED,)),
    ),
}
RUNS = tuple(dict.fromkeys(grid.run for grids in STUDIES.values() for grid in grids))


def planned(grid: Grid) -> tuple[str, ...]:
    """The attacks of a grid, by agents 0 and 1."""
    others = (other_sender(grid.run, attack) for attack in grid.attacks)
    return tuple(dict.fromkeys((*grid.attacks, *(other for other in others if other))))


def cells(grid: Grid) -> Iterator[tuple[str, str, str, str, str]]:
    """Run, variant, attack, defense and conditions of a grid's cells, each for all seeds."""
    for conditions in grid.conditions:
        told = json.dumps(conditions)
        for attack in ("none", *map(label, planned(grid))):
            if attack != "none" and "gates" in conditions:
                continue
            for defense in ("none", *grid.defenses):
                yield grid.run, "team", attack, defense, told
        if grid.run in WITH_CONTROL and not {"gates", "codec", "environment"} & set(conditions):
            yield grid.run, "control", "none", "none", told


def main(count: Annotated[bool, typer.Option("--count", help="print the numbers of cells")] = True) -> None:
    """Print how many cells there are."""
    found = {name: {cell for grid in grids for cell in cells(grid)} for name, grids in STUDIES.items()}
    everything = set().union(*found.values())
    attacked = sum(cell[2] != "none" for cell in everything)
    if count:
        for name, some in found.items():
            typer.echo(f"{name:12} {len(some) * len(SEEDS):6} cells")
        for run, number in Counter(cell[0] for cell in everything).items():
            typer.echo(f"  {run:18} {number * len(SEEDS):6} cells")
        seeds = len(SEEDS)
        typer.echo(f"All {len(everything) * seeds} cells, of which {attacked * seeds} attacked")


if __name__ == "__main__":
    typer.run(main)
