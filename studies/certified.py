"""Holds the certificates of published teams against attacks in their budget, team by team.

python studies/certified.py                  certifies and attacks the missing teams of all runs below
python studies/certified.py --runs capture   only those of one run

A certificate counts the decisions of clean episodes that no attacker in its budget can change. Here several attacks in
that budget count those that they leave, in the same episodes; if the certificate is right, none leaves fewer, and the
command fails otherwise. Rows go to studies/runs/certified/cells.jsonl, one per team, certificate and budget.

- *reach*: C links, the same in all episodes, whose messages are changed or held back; attacked are the worst.
- *vote*: C links of every receiver, under an ensemble of subsets of two (AME).
- *radius*: all that a receiver hears, changed by at most a length, under smoothing. Episodes are cut to their first
  step, as what is observed later depends on what was decided. As noise is drawn, each decision may be wrong with a
  probability of 1%.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from cells import RUNS
from suite import CERTIFIED, PROVED, SMOOTHED, VOTE

from agentcomm.base.documents import read_rows
from agentcomm.base.files import append_line
from agentcomm.certificates import smoothing
from agentcomm.certificates.measure import CONFIDENCE, Played, Row, certificates, play
from agentcomm.evaluation.cells import Cell
from agentcomm.runs.choices import Choice
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.folder import Run
from agentcomm.runs.given import run_of

EPISODES = 64
COUNTS = (1, 2)  # attacked links
RADII = (0.25, 0.5)  # lengths of changes, in units of sigma
SAMPLES, SIGMA = 100, 0.25


class Claimed(NamedTuple):
    """What a certificate says of a team, and the attacks to hold it against.

    Attributes:
        budget: What the attacker may do.
        decisions: Of clean episodes.
        certified: How many of them it cannot change.
        attacks: Attacks in that budget.
    """

    budget: str
    decisions: int
    certified: int
    attacks: Sequence[Row]


def on_links(links: Sequence[Sequence[int]]) -> list[Row]:
    """Attacks that may do anything to messages on links [sender, receiver]."""
    place: Row = {"links": [list(link) for link in links]}
    white: Row = {"name": "gradient", "epsilon": 5.0, **place}
    known = [white | {"adaptive": True}, white | {"goal": "worst"}]
    return [*known, {"name": "noise", "epsilon": 5.0, **place}, {"name": "drop", **place}]


def of_each(agents: int, count: int) -> list[list[int]]:
    """C links of every receiver: those of the first other agents."""
    others = [[j for j in range(agents) if j != i] for i in range(agents)]
    return [[j, i] for i in range(agents) for j in others[i][:count]]


def words(count: int) -> str:
    """So many links."""
    return f"{count} link" + ("s" if count > 1 else "")


def claims(run: Run, cell: Cell, clean: Played) -> Iterator[Claimed]:
    """What certificates say of a team under its defense.

    Args:
        run: The run.
        cell: The team.
        clean: Its clean episodes.
    """
    agents, degree = clean.recorded.source.shape[2:]
    if cell.defense_label.startswith("smoothing"):
        assert clean.votes is not None
        first = clean.votes[:, 0].amax(-1)[clean.acting[:, 0]]
        alpha, actions = 1 - CONFIDENCE, clean.votes.shape[-1]
        table = [smoothing.radius(votes, SAMPLES, SIGMA, actions, alpha) for votes in range(SAMPLES + 1)]
        radii = torch.tensor(table)[first]
        for length in (times * SIGMA for times in RADII):
            change: Row = {"name": "gradient", "norm": "l2", "epsilon": length / degree**0.5}
            attacks = [change, change | {"adaptive": True}, change | {"adaptive": True, "samples": 4}]
            yield Claimed(f"length {length:g}", len(radii), int((radii > length).sum()), attacks)
        return
    for row in certificates(run, cell, COUNTS):
        if row["certificate"] == "reach" and not cell.defenses:
            links = [[int(agent) for agent in name.split(">")] for name in row["worst"]]
            yield Claimed(words(row["count"]), row["decisions"], row["certified"], on_links(links))
        elif row["certificate"] == "vote":
            links, budget = of_each(agents, row["count"]), f"{words(row['count'])} of each receiver"
            yield Claimed(budget, row["decisions"], row["certified"], on_links(links))


def left(clean: Played, attacked: Played) -> int:
    """How many decisions of clean episodes are the same under attack."""
    least = min(clean.action.shape[1], attacked.action.shape[1])
    first, then = ((one.action[:, :least], one.acting[:, :least]) for one in (clean, attacked))
    return int(((first[0] == then[0]) & first[1] & then[1]).sum())


def rows(run: Run, seed: int, kind: str, defense: str | None) -> Iterator[Row]:
    """Cells of a team: what is certified, and what the strongest attack leaves."""
    group = () if defense is None else (run.adopt("defense", Choice.parse(defense)),)
    changes = {"max_steps": 1} if kind == "radius" else {}
    under = Conditions(transport=run.config.transport, environment=changes)
    cell = Cell("team", seed, None, group, EPISODES, run.config.evaluation.seed, under)
    cell = cell.canonical(run.config.environment)
    clean = play(run, cell)
    for claim in claims(run, cell, clean):
        found: dict[str, int] = {}
        for attack in claim.attacks:
            struck = replace(cell, attack=Choice.model_validate(attack)).canonical(run.config.environment)
            found[struck.attack_label] = left(clean, play(run, struck))
        strongest = min(found, key=lambda name: found[name])
        condition = f"{run.path.name}, {kind}, {claim.budget}"
        about: Row = {"id": f"team-{seed}|{condition}", "variant": "team", "seed": seed, "attack": None}
        about |= {"status": "ok", "defense_label": "none", "conditions_label": condition, "episodes": EPISODES}
        about |= {"team": f"{run.path.name}/team-{seed}", "certificate": kind, "budget": claim.budget}
        about |= {"defense": cell.defense_label, "strongest": strongest, "decisions": claim.decisions}
        counts = {"certified": claim.certified, "empirical": found[strongest]}
        shares = {f"{name}_share": count / max(claim.decisions, 1) for name, count in counts.items()}
        yield about | {"metrics": counts | shares}


def kinds(name: str) -> dict[str, str | None]:
    """Certificates of a run by the defense that they need."""
    one_round = {"vote": VOTE, "radius": SMOOTHED}
    return {"reach": None, **(one_round if CERTIFIED[name] else {})}


def main(
    runs: Annotated[list[str] | None, typer.Option(help="published runs; all of them if not given")] = None,
    root: Annotated[Path, typer.Option(help="folder of published runs")] = RUNS,
    seeds: Annotated[int, typer.Option(help="teams of each run")] = 10,
) -> None:
    """Certify and attack the missing teams."""
    target = root / PROVED / "cells.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    known = read_rows(target, None, str(target))[0] if target.exists() else []
    done = {(row["team"], row["certificate"]) for row in known}
    torch.set_num_threads(1)
    work = [(name, seed, kind) for name in runs or CERTIFIED for seed in range(seeds) for kind in kinds(name)]
    for at, (name, seed, kind) in enumerate(work, 1):
        if (f"{name}/team-{seed}", kind) in done:
            continue
        run = run_of(root / name)
        for row in rows(run, seed, kind, kinds(name)[kind]):
            append_line(target, row)
            known.append(row)
        typer.echo(f"{at} of {len(work)}: {name}/team-{seed}, {kind}")
    broken = [row for row in known if row["metrics"]["certified"] > row["metrics"]["empirical"]]
    for row in broken:
        typer.echo(
            f"{row['team']}, {row['certificate']}, {row['budget']}: more is certified than {row['strongest']} left"
        )
    if broken:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
