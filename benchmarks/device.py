"""A GPU beside the processor: env steps per second of evaluation and of training, and five teams side by side.

python -m benchmarks.device --device cuda:0    writes benchmarks/device.md (``make bench-gpu``)
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer

from agentcomm.base.devices import device_of
from agentcomm.base.errors import ConfigError
from agentcomm.base.versions import versions
from agentcomm.evaluation.play import play
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import RunConfig, parse
from agentcomm.training.ray_session import ray_session
from benchmarks.plain_loop import PlainLoop
from benchmarks.settings import ours
from benchmarks.throughput import build_rllib
from benchmarks.update import TEAMS, side_by_side

FRAGMENT = 16
REPEATS = 3


class Case(NamedTuple):
    """A team in a number of worlds."""

    environment: str
    agents: int
    worlds: int


CASES = (
    Case("predator_prey", 3, 16384),
    Case("predator_capture_prey", 3, 256),
    Case("predator_capture_prey", 3, 16384),
    Case("oracle_hint", 64, 256),
    Case("oracle_hint", 64, 4096),
)


def config_of(case: Case) -> RunConfig:
    """CommFormer on the case, in large minibatches: an update takes 16 gradient steps in any number of worlds."""
    environment: dict[str, Any] = {"name": case.environment, "observation": "indices"}
    if case.environment == "oracle_hint":
        environment["members"] = case.agents
    topology = {"name": "learned", "density": 1.5 / case.agents}
    training = {
        "worlds": case.worlds,
        "fragment": FRAGMENT,
        "ppo": {"epochs": 1, "minibatch": case.worlds * FRAGMENT // 16},
    }
    return parse(
        {
            "name": "device",
            "environment": environment,
            "policy": {"name": "commformer", "width": 64, "topology": topology},
            "training": training,
        },
        "benchmark settings",
    )


def seconds(work: Callable[[], Any], device: str) -> float:
    """Least seconds of a few calls, after one to warm up."""
    times = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def evaluation_rate(case: Case, device: str, attacks: tuple[str, ...] = ()) -> float:
    """Env steps per second of greedy episodes."""
    run = config_of(case)
    with closing(make_world(run.environment, case.worlds, device)) as world:
        policy = make_policy(run.policy, world).to(device)
        comms = make_comms(world, policy, tuple(Choice.parse(a) for a in attacks))
        steps = 0

        def work() -> None:
            nonlocal steps
            steps = int(play(world, policy, comms, 0).length.sum())

        took = seconds(work, device)
    return steps / took


def training_rate(case: Case, device: str) -> float:
    """Env steps per second of sampling and updates."""
    loop = PlainLoop(config_of(case), device=device)
    return case.worlds * FRAGMENT / seconds(loop.iterate, device)


def rllib_rate(device: str) -> float:
    """Env steps per second of training by RLlib in one large batch, whose fragments stay on the device."""
    worlds = 16384
    run = ours(worlds=worlds, device=device, ppo={"minibatch": worlds * FRAGMENT // 16})
    with tempfile.TemporaryDirectory() as folder, ray_session(Path(folder, "ray.log")):
        algorithm = build_rllib(run)
        try:
            return worlds * FRAGMENT / seconds(algorithm.train, device)
        finally:
            algorithm.stop()


def clock_of(device: str) -> Callable[[], float]:
    """Seconds, once the device has done what was asked of it."""

    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


def main(device: Annotated[str, typer.Option(help="The device to compare with the processor.")] = "cuda:0") -> None:
    """Measure all cases on both, and write the table."""
    try:
        name = torch.cuda.get_device_name(device_of(device, "training.device"))
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None
    threads = torch.get_num_threads()
    lines = [
        "# A GPU beside the processor",
        "",
        f"Env steps per second on the processor ({platform.processor() or platform.machine()}, {threads} of"
        f" {os.cpu_count()} cores) and on {name}, in one run; the ratio in parentheses. Attacked: `noise:epsilon=1`."
        f" Updates take 16 gradient steps. torch {versions()['torch']}.",
        "",
        "| task | agents | worlds | evaluation | attacked evaluation | training |",
        "|---|---|---|---|---|---|",
    ]
    for case in CASES:
        cells = []
        for rate in (evaluation_rate, lambda c, d: evaluation_rate(c, d, ("noise:epsilon=1",)), training_rate):
            here, there = rate(case, "cpu"), rate(case, device)
            cells.append(f"{here:,.0f} / {there:,.0f} ({there / here:.2g})")
        lines.append(f"| {case.environment} | {case.agents} | {case.worlds} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    teams = side_by_side(device, clock_of(device))
    lines += [
        "",
        f"RLlib, Predator-Prey in 16,384 worlds on the GPU: {rllib_rate(device):,.0f} env steps per second.",
        "",
        f"Loss and gradient of a minibatch (benchmarks/update.py) on the GPU: one team {teams['single']:.1f} ms,",
        f"{TEAMS} teams one after the other {teams['alone']:.1f} ms, side by side {teams['together']:.1f} ms.",
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    typer.run(main)
