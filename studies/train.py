"""Trains teams of studies in several processes, one team at a time each; run it again to resume.

python studies/train.py --jobs 15 capture prey_10     trains the teams of studies/teams/capture.yaml and prey_10.yaml
python studies/train.py --publish capture             copies them to studies/runs/ afterwards, with publish.py

Each training seed is a run of its own below runs/parts/ while it is trained. Once all seeds of a config are there, they
are put together as runs/NAME.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Annotated

import typer
from publish import publish

from agentcomm import api
from agentcomm.base.errors import AgentcommError
from agentcomm.runs.config import RunConfig, load
from agentcomm.runs.folder import create

TEAMS = Path(__file__).parent / "teams"
ROOT = Path("runs")
_sessions: list[ExitStack] = []  # of this process: Ray is started once, not for each team


def train(names: Sequence[str], jobs: int, root: Path = ROOT, overrides: Sequence[str] = ()) -> list[str]:
    """Train teams.

    Args:
        names: Names of configs in studies/teams/, the most important first.
        jobs: Processes.
        root: Where runs lie.
        overrides: Overrides ``key=value`` of all configs.

    Returns:
        Names of the configs all of whose teams are trained and put together.
    """
    configs = {name: load(TEAMS / f"{name}.yaml", overrides) for name in dict.fromkeys(names)}
    left = {name: set(config.seeds) for name, config in configs.items()}
    took: dict[str, float] = defaultdict(float)
    done = []
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        todo = {
            pool.submit(_one, config, seed, root): (name, seed)
            for name, config in configs.items()
            for seed in config.seeds
        }
        for future in as_completed(todo):
            name, seed = todo[future]
            seconds, error = future.result()
            took[name] += seconds
            typer.echo(f"{name}, seed {seed}: {error or f'{seconds:.0f} s'}", err=bool(error))
            if not error:
                left[name].discard(seed)
            if not left[name]:
                _put_together(configs[name], root)
                done.append(name)
                typer.echo(f"{name}: all {len(configs[name].seeds)} seeds, {took[name]:.0f} s of one process")
    return done


def _part(config: RunConfig, seed: int, root: Path) -> Path:
    """Folder below which the run of one seed lies."""
    return root / "parts" / f"{config.name}-{seed}"


def _one(config: RunConfig, seed: int, root: Path) -> tuple[float, str]:
    """Train the team of one seed, and its control; returns seconds, and what went wrong."""
    began = time.monotonic()
    from agentcomm.training.ray_session import ray_session

    try:
        root.mkdir(parents=True, exist_ok=True)
        if not _sessions:
            _sessions.append(ExitStack())
            _sessions[0].enter_context(ray_session(root / f"ray-{os.getpid()}.log"))
            Finalize(None, _sessions[0].close, exitpriority=0)
        alone = config.model_copy(update={"seeds": (seed,)})
        api.train(alone, root=_part(config, seed, root), resume=True, progress=False)
    except AgentcommError as error:
        return time.monotonic() - began, str(error)
    return time.monotonic() - began, ""


def _put_together(config: RunConfig, root: Path) -> None:
    """Make one run of the runs of all seeds."""
    shutil.rmtree(root / config.name, ignore_errors=True)
    run = create(config, root)
    for seed in config.seeds:
        for folder in (_part(config, seed, root) / config.name / "teams").iterdir():
            shutil.copytree(folder, run.path / "teams" / folder.name, dirs_exist_ok=True)


def main(
    names: Annotated[list[str], typer.Argument(help="names of configs in studies/teams/, most important first")],
    jobs: Annotated[int, typer.Option(help="processes")] = os.cpu_count() or 1,
    root: Annotated[Path, typer.Option(help="where runs lie")] = ROOT,
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value, for all configs")] = None,
    published: Annotated[bool, typer.Option("--publish", help="copy what is trained to studies/runs/")] = False,
) -> None:
    """Train teams."""
    try:
        done = train(names, jobs, root, override or ())
        for name in done if published else ():
            typer.echo(f"Published {publish(root / name)}")
    except AgentcommError as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(len(done) < len(set(names)))


if __name__ == "__main__":
    typer.run(main)
