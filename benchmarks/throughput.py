"""Env steps per second: the world alone, world + policy, a plain PPO loop, and RLlib. `make bench` runs this.

`python -m benchmarks.throughput PAGE` writes PAGE.md in place of throughput.md.

All numbers come from one run on one machine, so compare them with each other. The plain loop and RLlib
take turns, iteration by iteration, so that other load on the machine affects both alike.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

import agentcomm  # noqa: F401  (sets the OpenMP spin before torch is imported)
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.config import RunConfig
from agentcomm.step.decide import decide
from agentcomm.training.ray_session import ray_session
from benchmarks.packages import packages
from benchmarks.plain_loop import PlainLoop, Timing
from benchmarks.settings import RELEASED_CODE, commformer, ours

BATCHES = (1, 32, 256, 1024, 4096)
ITERATIONS = 12
console = Console()


def rate(step: Callable[[], Any], per_call: int, seconds: float = 0.7, repeats: int = 3) -> float:
    """Median over repeats of calls per second times ``per_call``, after a short warm-up."""
    for _ in range(3):
        step()
    found = []
    for _ in range(repeats):
        began, calls = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            step()
            calls += 1
        found.append(calls * per_call / (time.perf_counter() - began))
    return statistics.median(found)


def world_rate(run: RunConfig, batch: int) -> float:
    """The world alone, with prepared random actions."""
    world = make_world(run.environment, batch)
    world.reset(0)
    actions = [torch.randint(world.num_actions, (batch, world.num_agents)) for _ in range(16)]
    turn = iter(range(10**9))
    return rate(lambda: world.step(actions[next(turn) % 16]), batch)


def policy_rate(run: RunConfig, batch: int) -> float:
    """World and policy, sampling, through a quiet network."""
    world = make_world(run.environment, batch)
    policy = make_policy(run.policy, world)
    comms = make_comms(world, policy)
    generator = torch.Generator().manual_seed(0)
    graph = policy.topology.graph(None, batch)
    observation = world.reset(0)

    def step() -> None:
        nonlocal observation
        decision = decide(policy, observation, graph, comms, world.length, generator)
        observation = world.step(decision.action).observation

    return rate(step, batch)


def gemm_rate() -> float:
    """Floating point operations per second of the matrix product the update consists of."""
    a, b = torch.randn(12_288, 64), torch.randn(64, 64)
    return rate(lambda: a @ b, 2 * a.numel() * 64)


def flops_per_step(run: RunConfig) -> float:
    """Matrix products per env step in one epoch: forward, and twice that backward (inputs need no gradient)."""
    world = make_world(run.environment, 1)
    policy = make_policy(run.policy, world)
    units = [m for m in policy.modules() if isinstance(m, torch.nn.Linear)]
    first = next((m for m in units if m.in_features == world.layout.width), None)
    total = sum(6 * m.weight.numel() for m in units)
    if first is not None:
        total -= 2 * first.weight.numel()
    return total * world.num_agents


def build_rllib(run: RunConfig) -> Any:
    from agentcomm.training.algorithm import CommPPOConfig

    return CommPPOConfig().team(run, "team", 0).build_algo()


def in_turns(plain: PlainLoop, run: RunConfig, what: str) -> tuple[list[Timing], list[float]]:
    """Times of iterations of the plain loop and of RLlib, which take turns."""
    rllib = build_rllib(run)
    timings, seconds = [], []
    for _ in track(range(ITERATIONS + 2), description=what, console=console):
        timings.append(plain.iterate())
        began = time.perf_counter()
        rllib.train()
        seconds.append(time.perf_counter() - began)
    rllib.stop()
    return timings[2:], seconds[2:]


def compare(name: str, run: RunConfig, two: RunConfig) -> dict[str, Any]:
    """Plain loop and RLlib in turns; then the plain loop and RLlib with two remote runners, in turns again."""
    plain = PlainLoop(run)
    steps = run.training.worlds * run.training.fragment
    timings, shared = in_turns(plain, run, f"{name}: plain, RLlib")
    again, remote = in_turns(plain, two, f"{name}: plain, 2 runners")
    middle = statistics.median
    return {
        "plain": steps / middle(t.total for t in timings + again),
        "rllib": steps / middle(shared),
        "rllib2": steps / middle(remote),
        # Each iteration against its neighbor in time, so that a disturbance hits both.
        "ratio": middle(t.total / s for t, s in zip(timings, shared, strict=True)),
        "ratio2": middle(t.total / s for t, s in zip(again, remote, strict=True)),
        "update_share": middle(t.update / t.total for t in timings),
        "sampling": steps / middle(t.sample for t in timings),
        "epochs": run.training.ppo.epochs,
    }


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def main(page: str = "throughput") -> None:
    """Measure everything and write it to a page of this folder."""
    load = os.getloadavg()[0]
    theirs_run, our_run = commformer(), ours()
    pairs = {"CommFormer's settings": theirs_run, "our settings": our_run}
    alone, sampled = {}, {}
    for name, run in pairs.items():
        for batch in track(BATCHES, description=f"{name}: world, policy", console=console):
            alone[name, batch] = world_rate(run, batch)
            sampled[name, batch] = policy_rate(run, batch)
    gemm = gemm_rate()
    with tempfile.TemporaryDirectory() as folder, ray_session(Path(folder, "ray.log"), runners=2):
        theirs = compare("CommFormer's settings", theirs_run, commformer(worlds=125, runners=2))
        mine = compare("our settings", our_run, ours(worlds=128, runners=2))
    found = {"CommFormer's settings": theirs, "our settings": mine}

    def thousands(x: float) -> str:
        return f"{x / 1000:,.1f}k"

    text = [
        "# Throughput",
        "",
        "Written by `make bench`. Env steps per second; one env step is one step of one world for the whole team.",
        f"Predator-Prey 5x5, 3 predators, vision 1. {os.cpu_count()} cores"
        f" ({platform.processor() or platform.machine()}),"
        f" {torch.get_num_threads()} torch threads, load average {load:.1f} at the start; {packages()}.",
        "",
        "## World, and world + policy",
        "",
        table(
            ["", *(f"B = {b}" for b in BATCHES)],
            [
                row
                for name in pairs
                for row in (
                    [f"world, {name}", *(thousands(alone[name, b]) for b in BATCHES)],
                    [f"world + policy, {name}", *(thousands(sampled[name, b]) for b in BATCHES)],
                )
            ],
        ),
        "",
        "## Training",
        "",
        table(
            ["", *found],
            [
                ["plain torch loop", *(thousands(f["plain"]) for f in found.values())],
                ["RLlib, sampling in the learner's process", *(thousands(f["rllib"]) for f in found.values())],
                ["RLlib, 2 runners", *(thousands(f["rllib2"]) for f in found.values())],
                ["RLlib / plain loop (paired, median)", *(f"{f['ratio']:.0%}" for f in found.values())],
                ["RLlib, 2 runners / plain loop (paired, median)", *(f"{f['ratio2']:.0%}" for f in found.values())],
                [
                    f"RLlib / CommFormer's released code ({RELEASED_CODE})",
                    *(f"{f['rllib'] / RELEASED_CODE:.1f}x" for f in found.values()),
                ],
                ["share of the update in an iteration", *(f"{f['update_share']:.0%}" for f in found.values())],
                ["sampling alone", *(thousands(f["sampling"]) for f in found.values())],
            ],
        ),
        "",
        "## The limit",
        "",
        f"One core-bound matrix product [12288, 64] x [64, 64] runs at {gemm / 1e9:.0f} GFLOP/s here. If an update were"
        " nothing but its matrix products at that rate, and sampling were free, training would reach",
        "",
        table(
            ["", *found],
            [
                [
                    "bound by matrix products",
                    *(thousands(gemm / (flops_per_step(r) * r.training.ppo.epochs)) for r in pairs.values()),
                ],
                [
                    "plain loop reaches",
                    *(
                        f"{f['plain'] * flops_per_step(r) * r.training.ppo.epochs / gemm:.0%}"
                        for f, r in zip(found.values(), pairs.values(), strict=True)
                    ),
                ],
            ],
        ),
        "",
        "The rest of an update is memory-bound: layer norms, GELU, softmax and their backward passes"
        " over [rows, N, 64].",
        "",
    ]
    target = Path(__file__).with_name(f"{page}.md")
    target.write_text("\n".join(text), encoding="utf-8")
    console.print(target.read_text(encoding="utf-8"), markup=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
