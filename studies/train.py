"""Trains the teams of studies, several at a time; run it again to resume.

python studies/train.py --jobs 15 capture prey_10     trains the teams of studies/teams/capture.yaml and prey_10.yaml
python studies/train.py --publish capture             copies them to studies/runs/ afterwards, with publish.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from publish import publish

from agentcomm import api
from agentcomm.base.errors import AgentcommError
from agentcomm.runs.config import load

TEAMS = Path(__file__).parent / "teams"
ROOT = Path("runs")


def train(names: Sequence[str], jobs: int, root: Path = ROOT, overrides: Sequence[str] = ()) -> Iterator[str]:
    """Train teams, config by config; yields the names of those all of whose teams are trained.

    Args:
        names: Names of configs in studies/teams/, the most important first.
        jobs: Teams to train at the same time.
        root: Where runs lie.
        overrides: Overrides ``key=value`` of all configs.
    """
    configs = {name: load(TEAMS / f"{name}.yaml", overrides) for name in dict.fromkeys(names)}
    for name, config in configs.items():
        began = time.monotonic()
        try:
            run = api.train(config, root=root, resume=True, jobs=jobs, progress=False)
        except AgentcommError as error:
            typer.echo(f"{name}: {error}", err=True)
            continue
        typer.echo(f"{name}: all {len(run.trained())} teams, {time.monotonic() - began:.0f} s")
        yield name


def main(
    names: Annotated[list[str], typer.Argument(help="names of configs in studies/teams/, most important first")],
    jobs: Annotated[int, typer.Option(help="teams to train at the same time")] = os.cpu_count() or 1,
    root: Annotated[Path, typer.Option(help="where runs lie")] = ROOT,
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value, for all configs")] = None,
    published: Annotated[bool, typer.Option("--publish", help="copy what is trained to studies/runs/")] = False,
) -> None:
    """Train teams."""
    try:
        done = list(train(names, jobs, root, override or ()))
        for name in done if published else ():
            typer.echo(f"Published {publish(root / name)}")
    except AgentcommError as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(len(done) < len(set(names)))


if __name__ == "__main__":
    typer.run(main)
