"""Compares two teams side by side, on one thread each, with one team on two threads, turn by turn in one run.

python -m benchmarks.jobs     prints the rates and writes benchmarks/jobs.md

Both use the code of ``agentcomm train``: the first that of ``--jobs 2``, the second that of ``--jobs 1``.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from agentcomm.runs.config import RunConfig
from agentcomm.runs.folder import create
from agentcomm.training.placement import Placement
from agentcomm.training.ray_session import ray_session
from agentcomm.training.shipping import TrainingIdentity, pack
from agentcomm.training.team import TeamTraining
from agentcomm.training.team_at_work import Process
from agentcomm.training.team_process import Notes
from benchmarks import settings

import ray  # isort: skip

TEAMS = 2
ENDLESS = {"env_steps": 10**9, "checkpoint_every": 10**6}


def measured(config: RunConfig, folder: Path, rounds: int, iterations: int) -> tuple[list[float], list[float]]:
    """Env steps per second of one team and of two side by side, in each round.

    Args:
        config: The run.
        folder: Where runs lie.
        rounds: Rounds after one that warms up.
        iterations: Iterations of each of two teams in a round.
    """
    run = create(config, folder)
    steps = config.training.worlds * config.training.fragment * TEAMS * iterations
    with ray_session(folder / "ray.log", 0, TEAMS):
        placement = Placement(TEAMS, 1, 1, 0, None)
        processes = [Process(placement) for _ in range(TEAMS)]
        files = ray.put(pack(run, TrainingIdentity(run).all_choices()))
        begun = [p.ask("begin", ("team", seed), files, None, [], str(run.path)) for seed, p in enumerate(processes)]
        assert all(answer.error is None for answer in ray.get(begun))
        with closing(TeamTraining(run, "team", 0, run.team("team", 0), Notes(), threads=TEAMS)) as alone:

            def one() -> None:
                for _ in range(TEAMS * iterations):
                    alone.iterate()

            def two() -> None:
                ray.get([process.ask("iterate") for process in processes for _ in range(iterations)])

            found = [(_rate(one, steps), _rate(two, steps)) for _ in range(rounds + 1)][1:]
        for process in processes:
            process.kill()
    return [first for first, _ in found], [second for _, second in found]


def _rate(train: Callable[[], Any], steps: int) -> float:
    began = time.perf_counter()
    train()
    return steps / (time.perf_counter() - began)


def main(
    rounds: Annotated[int, typer.Option(help="measured turns of each")] = 7,
    iterations: Annotated[int, typer.Option(help="iterations of each team in a turn")] = 2,
) -> None:
    """Measure and write ``benchmarks/jobs.md``."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        one, two = measured(settings.ours(**ENDLESS), Path(folder), rounds, iterations)
    ratios = sorted(b / a for a, b in zip(one, two, strict=True))
    middle = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    text = f"""# Teams side by side

Written by `python -m benchmarks.jobs`: env steps per second of all teams together, medians of {rounds} turns, in
our settings on {os.cpu_count()} cores, load average {load:.1f} at the start. Both take turns in one run.

| `--jobs 1`, two threads | `--jobs 2`, one thread each | ratio (smallest to largest) |
|---|---|---|
| {statistics.median(one):,.0f} | {statistics.median(two):,.0f} | {middle} |
"""
    typer.echo(text)
    Path(__file__).with_name("jobs.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
