"""The command ``grid``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from agentcomm.cli.completion import config_files
from agentcomm.cli.options import Adaptive, Address, Jobs, RetryFailed, Root, Trust
from agentcomm.cli.screen import complain, console, say


def grid(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file of the grid.", autocompletion=config_files)],
    jobs: Jobs = 1,
    address: Address = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the training of the grid's teams.")] = False,
    retry_failed: RetryFailed = False,
    adaptive: Adaptive = False,
    root: Root = Path("runs"),
    trust: Trust = False,
) -> None:
    """Evaluate all cells of FILE: environment x policy x attack x defense x budget x conditions x seed.

    \b
    name: mine
    # Trained runs, or teams to train: each environment with each policy.
    runs: \\[runs/first, runs/second]
    environments: \\[predator_prey]
    policies: \\[commformer, {name: ic3net, width: 32}]
    training: {env_steps: 1e6}
    seeds: \\[0, 1, 2]
    attacks: \\[drop, {name: noise, epsilon: 2}]
    budgets: \\[{per_episode: 4}, {}]      # every attack with each of them
    defenses: \\[clip, authenticate+clip]  # besides no defense
    adaptive: true      # also the attacks that are aimed at a defense
    conditions: {transports: \\[{channels: \\[loss]}], decisions: greedy}
    episodes: 512

    Everything is checked before anything runs. Cells go to the cells.jsonl of their run; runs/NAME/ has the teams
    that the grid trains. Finished cells are never evaluated twice: repeat the command after an interruption, with
    --resume if it trains. Failed cells are recorded, and the grid goes on.

    With --address, teams and cells go to a Ray cluster: `ray start --head` on one machine, and
    `ray start --address=HOST:PORT` on the others.
    """  # noqa: D301 - typer keeps lines after \b
    from agentcomm import grids
    from agentcomm.cli import tables
    from agentcomm.training.trainer import Stopped

    again = f"agentcomm grid {shlex.quote(str(file))} --resume"
    try:
        found = grids.grid(file, root, jobs, address, resume, retry_failed, trust, adaptive=adaptive)
    except Stopped as stopped:
        say(f"Stopped; all progress is saved. Resume with: {again}")
        raise typer.Exit(128 + stopped.number) from None  # as shells report a signal
    except KeyboardInterrupt:
        say(f"Stopped; finished cells are saved. Evaluate the rest with: {again}")
        raise typer.Exit(130) from None
    failed = []
    for run, rows in found.items():
        say(f"{run}:")
        console.print(tables.cells(rows))
        if (aimed := tables.adaptive(rows)) is not None:
            console.print(aimed)
        failed += [f"{run}: {line}" for line in tables.failures(rows)]
        say(f"{len(rows)} cells are in {run / 'cells.jsonl'}. Next: agentcomm report {shlex.quote(str(run))}")
    if failed:
        number = sum(row["status"] == "failed" for rows in found.values() for row in rows)
        complain(f"{number} failed; to evaluate them again, add --retry-failed\n" + "\n".join(failed))
        raise typer.Exit(1)
