"""Speed of third-party environments through the adapter, beside stepping the same ones directly.

Both take the same random actions and restart episodes that ended, in turns within one run, so that only their ratio is
compared. The processor time of this process says what the adapter adds; the wall clock what processes gain.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import gymnasium
import torch
from rich.console import Console
from rich.progress import track

from agentcomm.base.modules import permit
from agentcomm.contracts.world import World
from agentcomm.runs.assembly import make_world
from agentcomm.runs.choices import Choice, modules_of
from benchmarks.packages import packages

WORLDS, STEPS, ROUNDS = 32, 20, 5
PROCESSES = (1, 2)
MPE = "pettingzoo:mpe2.simple_{}:parallel_env,max_steps=25"
ENVIRONMENTS = {
    "speaker_listener": MPE.format("speaker_listener_v4"),
    "spread": MPE.format("spread_v3"),
    "spread, continuous": MPE.format("spread_v3") + ",arguments.continuous_actions=true",
    "lbf": "gymnasium:lbforaging:Foraging-8x8-2p-2f-v3,max_steps=50",
    "rware": "gymnasium:rware:rware-tiny-2ag-v2,max_steps=500",
    "pursuit": "pettingzoo:pettingzoo.sisl.pursuit_v5:parallel_env,max_steps=500",
    "multiwalker": "pettingzoo:pettingzoo.sisl.multiwalker_v9:parallel_env,max_steps=500",
}
TARGET = 0.8
console = Console()


def direct(choice: Choice, actions: list[Any]) -> Callable[[], None]:
    """A function that steps as many environments of the package itself with these actions."""
    with closing(make_world(choice, 1)) as world:
        make = world.config.recipe.maker()  # type: ignore[attr-defined]
    envs = [make() for _ in range(WORLDS)]
    for seed, env in enumerate(envs):
        env.reset(seed=seed)

    def run() -> None:
        for joint in actions:
            for seed, (env, row) in enumerate(zip(envs, joint, strict=True)):
                if isinstance(env, gymnasium.Env):
                    _, _, terminated, truncated, _ = env.step(tuple(row))
                    over = terminated or truncated
                else:
                    _, _, terminations, truncations, _ = env.step(dict(zip(env.possible_agents, row, strict=True)))
                    over = not env.agents or any(terminations.values()) or any(truncations.values())
                if over:
                    env.reset(seed=seed)

    return run


def measure(name: str, stack: ExitStack) -> str:
    """A line of the table."""
    choice = Choice.parse(ENVIRONMENTS[name])
    permit(modules_of(choice))
    worlds: dict[int, World] = {
        count: stack.enter_context(closing(make_world(choice.changed({"processes": count}), WORLDS)))
        for count in PROCESSES
    }
    generator = torch.Generator().manual_seed(0)
    shape = (WORLDS, worlds[1].num_agents)
    joint = [worlds[1].actions.draw(shape, generator, torch.device("cpu")) for _ in range(STEPS)]
    plain = [action.tolist() if action.dim() == 2 else list(action.numpy()) for action in joint]
    runs: dict[str, Callable[[], Any]] = {"direct": direct(choice, plain)}
    for count, world in worlds.items():
        world.reset(0)
        runs[str(count)] = lambda world=world: [world.step(action) for action in joint]
    wall: dict[str, list[float]] = {key: [] for key in runs}
    busy: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(ROUNDS):
        for key, run in runs.items():
            began = time.perf_counter(), time.process_time()
            run()
            wall[key].append(time.perf_counter() - began[0])
            busy[key].append(time.process_time() - began[1])
    count = WORLDS * STEPS
    micro = {key: 1e6 * statistics.median(times) / count for key, times in busy.items()}
    ratio = statistics.median(a / b for a, b in zip(busy["direct"], busy["1"], strict=True))
    gain = statistics.median(a / b for a, b in zip(wall["direct"], wall["2"], strict=True))
    return (
        f"| {name} | {shape[1]} | {1e6 / micro['direct']:,.0f} | {micro['direct']:.0f} | {micro['1']:.0f} |"
        f" {ratio:.2f} | {gain:.2f} |"
    )


def main() -> None:
    """Measure in turns, and write ``benchmarks/adapters.md``."""
    torch.set_num_threads(1)
    lines = []
    for name in track(ENVIRONMENTS, "measuring", console=console):
        with ExitStack() as stack:
            lines.append(measure(name, stack))
    table = "\n".join(lines)
    text = f"""# Third-party environments through the adapter

Written by `make bench`: {WORLDS} worlds with random actions, medians of {ROUNDS} rounds of {STEPS} steps, in turns with
as many environments of the package itself in a loop, on {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}
at the end; {packages()}.

| environment | agents | steps/s, direct | us, direct | us, adapter | ratio | ratio with 2 processes, by the clock |
|---|---|---|---|---|---|---|
{table}

Microseconds are processor time per step of one world. *Ratio* is the speed through the adapter in one process over
that of the package; target: at least {TARGET:g}. With 2 processes, at most twice that is possible, and only on a
machine that has nothing else to do. What the adapter adds is the same for all environments of as many agents, so fast
ones suffer most; more worlds make it less. lbforaging, the fastest one, was never above 0.7 with 32 worlds.
"""
    Path(__file__).with_name("adapters.md").write_text(text, encoding="utf-8")
    console.print(text, markup=False)


if __name__ == "__main__":
    main()
