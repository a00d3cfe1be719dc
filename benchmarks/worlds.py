"""Steps per second of every native environment alone, in a batch and one at a time. `make bench` runs this.

python -m benchmarks.worlds        writes benchmarks/worlds.md

Times are processor time of one thread, so that other load on the machine distorts them little.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import track

import agentcomm  # noqa: F401  (sets the OpenMP spin before torch is imported)
from agentcomm.runs.assembly import make_world
from agentcomm.runs.choices import Choice
from benchmarks.packages import packages
from benchmarks.throughput import table

BATCH, TARGET = 1024, 50
MARKETS = (10, 100, 1000)  # agents
console = Console()


class Case(NamedTuple):
    """An environment to measure.

    Attributes:
        title: In the table.
        name: Registered name.
        arguments: Its arguments.
        peer: Another package's implementation of the task, or of one like it: title, and steps per second of one
            process with random actions, measured in an earlier run.
        module: Where to find the peer, to measure it in this run; None if it is not on a package registry.
    """

    title: str
    name: str
    arguments: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    peer: tuple[str, int] | None = None
    module: str | None = None


CASES = (
    Case("speaker_listener", "speaker_listener", {}, ("mpe2", 11_900), "mpe2.simple_speaker_listener_v4"),
    Case("speaker_listener, continuous", "speaker_listener", {"continuous": True}),
    Case("predator_prey, 5x5", "predator_prey", {"size": 5, "predators": 3}, ("IC3Net's", 21_000)),
    Case("traffic_junction, easy", "traffic_junction", {}, ("IC3Net's", 14_000)),
    Case("traffic_junction, medium", "traffic_junction", {"difficulty": "medium"}, ("IC3Net's", 7_800)),
    Case("traffic_junction, hard", "traffic_junction", {"difficulty": "hard"}, ("IC3Net's", 4_000)),
    Case("hallway", "hallway"),
    Case("hallway_c", "hallway_c"),
    Case("relay, 9 nodes", "relay"),
    Case("sensor_consensus, 9 agents", "sensor_consensus"),
    Case("cyber_defense, 4 subnets", "cyber_defense"),
    Case("food_collector, 9 agents", "food_collector"),
)


def rate(step: Callable[[], Any], per_call: int, seconds: float = 0.2, repeats: int = 3) -> float:
    """Median over repeats of calls per second of processor time, times ``per_call``, after a short warm-up."""
    for _ in range(5):
        step()
    found = []
    for _ in range(repeats):
        began, calls = time.process_time(), 0
        while time.process_time() - began < seconds:
            step()
            calls += 1
        found.append(calls * per_call / (time.process_time() - began))
    return statistics.median(found)


def native(case: Case, batch: int) -> float:
    """A native environment with prepared random actions; index observations where it has them."""
    observation = "dense" if case.name in ("speaker_listener", "food_collector") else "indices"
    world = make_world(Choice(name=case.name, observation=observation, **case.arguments), batch)
    world.reset(0)
    generator = torch.Generator().manual_seed(0)
    actions = [world.actions.draw((batch, world.num_agents), generator, world.device) for _ in range(16)]
    turn = iter(range(10**9))
    return rate(lambda: world.step(actions[next(turn) % 16]), batch)


def market(agents: int) -> list[str]:
    """Cells about a task market of so many agents: steps and starts per second, and the memory of a world."""
    requesters, batch = agents // 3, max(2**12 // agents, 4)
    workers = agents - requesters
    arguments = {"requesters": requesters, "workers": workers, "skills": max(3, agents // 16)}
    hub = {"slots": workers + 16, "capacity": max(6, agents // 10)}
    world = make_world(Choice(name="task_market", directory=hub, **arguments), batch)
    world.reset(0)
    generator = torch.Generator().manual_seed(0)
    actions = [world.actions.draw((batch, agents), generator, world.device) for _ in range(4)]
    turn = iter(range(10**9))
    steps = rate(lambda: world.step(actions[next(turn) % 4], auto_reset=False), batch)
    starts = rate(lambda: world.reset(0), batch)
    state = sum(value.numel() * value.element_size() for value in world.state.values()) / batch
    kib = [f"{size / 2**10:,.0f}" for size in (state, 4 * agents * world.layout.width)]
    return [f"{agents:,}", str(batch), f"{steps:,.0f}", f"{starts:,.0f}", *kib]


def other(module: str) -> float | None:
    """A PettingZoo parallel environment with random actions; None if its package is not installed."""
    try:
        env = import_module(module).parallel_env()
    except ImportError:
        return None
    env.reset(seed=0)
    actions = {agent: env.action_space(agent).sample() for agent in env.agents}

    def step() -> None:
        if not env.agents:
            env.reset()
        env.step(actions)

    return rate(step, 1)


def main() -> None:
    """Measure everything and write ``benchmarks/worlds.md``."""
    torch.set_num_threads(1)
    load, rows = os.getloadavg()[0], []
    for case in track(CASES, description="environments", console=console):
        one, many = native(case, 1), native(case, BATCH)
        here = other(case.module) if case.module else None
        rows.append([case.title, f"{one / 1000:,.1f}k", f"{many / 1000:,.0f}k", *_beside(case, many, here)])
    machine = (
        f"{os.cpu_count()} cores ({platform.processor() or platform.machine()}), load average {load:.1f} at the start"
    )
    text = f"""# Speed of native environments

Written by `python -m benchmarks.worlds`. Environment steps per second of processor time, one thread; a step is one step
of one world for the whole team. Random actions, observations and restarts included. Peers are steps per second of one
process, by packages that step one environment at a time: measured in the same run where *here* says so, otherwise
earlier on an idle machine of the same kind, beside which a busy one looks slow. The target is {TARGET} times a peer.
{machine}; {packages()}.

{table(["environment", "B = 1", f"B = {BATCH}", "peer", "times the peer", "times the peer, here"], rows)}
"""
    columns = ["agents", "B", "steps per second", "starts per second", "KiB of state", "KiB of observations"]
    text += f"""
## The task market as it grows

A third of the agents have tasks; there is one skill for every sixteen, and three at least; the hub serves one request
for every ten agents per step, and six at least. Figures are per world, whose steps do not restart. What is quadratic in
the state is each requester's experience with each name.

{table(columns, [market(agents) for agents in MARKETS])}
"""
    target = Path(__file__).with_name("worlds.md")
    target.write_text(text, encoding="utf-8")
    console.print(text)


def _beside(case: Case, many: float, here: float | None) -> list[str]:
    """Cells about a case's peer."""
    if case.peer is None:
        return ["", "", ""]
    name, known = case.peer
    now = "" if here is None else f"{many / here:.0f} ({here / 1000:.1f}k)"
    return [f"{name}, {known / 1000:.1f}k", f"{many / known:.0f}", now]


if __name__ == "__main__":
    main()
