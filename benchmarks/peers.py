"""Training and worlds beside peers: stock RLlib, PPO in the style of CleanRL, a world in the style of VMAS.

python -m benchmarks.peers        writes benchmarks/peers.md

All are measured in one run, turn by turn, so that other load on the machine affects all alike. Rates are steps per
second of processor time of one torch thread; the page also has those by the clock.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import track

import agentcomm  # noqa: F401  (sets the OpenMP spin before torch is imported)
from agentcomm.pettingzoo.view import ParallelView, view
from agentcomm.runs.assembly import make_world
from agentcomm.runs.choices import Choice
from agentcomm.training.ray_session import ray_session
from benchmarks.clean_ppo import BatchedWorlds, CleanPPO, ViewedWorlds
from benchmarks.packages import packages
from benchmarks.plain_loop import PlainLoop
from benchmarks.plain_world import PlainPredatorPrey
from benchmarks.settings import RELEASED_CODE, TASK, ours
from benchmarks.throughput import build_rllib, table

TURNS, WARM_UP = 7, 2
BATCHES = (1, 256, 4096)
GOAL = 2_000_000  # env steps per second of our world alone, on one thread, in the largest batch
SECONDS = 0.25  # of processor time per turn of a world
STOCK = "stock RLlib, multi-agent PPO"
console = Console()


class Trainer(NamedTuple):
    """A trainer to measure.

    Attributes:
        title: In the table.
        sends: What its agents send each other.
        worlds: How it steps worlds.
        iterate: One iteration; returns the env steps it sampled.
    """

    title: str
    sends: str
    worlds: str
    iterate: Callable[[], int]


class Rate(NamedTuple):
    """Env steps per second of each turn, by processor time and by the clock."""

    processor: list[float]
    clock: list[float]


def timed(work: Callable[[], int]) -> tuple[float, float]:
    """Steps per second of processor time, and by the clock, of work that returns its steps."""
    clock, processor = time.perf_counter(), time.process_time()
    steps = work()
    return steps / (time.process_time() - processor), steps / (time.perf_counter() - clock)


def in_turns(works: list[Callable[[], int]], turns: int, title: str) -> list[Rate]:
    """Measure several works, one after the other in each turn; the first turns only warm up."""
    found = [Rate([], []) for _ in works]
    for turn in track(range(-WARM_UP, turns), description=title, console=console):
        for rates, work in zip(found, works, strict=True):
            processor, clock = timed(work)
            if turn >= 0:
                rates.processor.append(processor)
                rates.clock.append(clock)
    return found


def dense() -> Choice:
    """The task with the observations that PettingZoo shows."""
    return Choice.model_validate(TASK | {"observation": "dense"})


def one_view(seed: int = 0) -> ParallelView:
    arguments = {key: value for key, value in TASK.items() if key != "name"}
    shown = view(str(TASK["name"]), observation="dense", **arguments)
    shown.reset(seed=seed)
    return shown


def trainers() -> list[Trainer]:
    """All trainers, with the batch, minibatches, epochs and clipping of our settings. Needs a Ray session."""
    from benchmarks.stock_rllib import build

    run = ours()
    training = run.training
    steps = training.worlds * training.fragment
    mine, stock = build_rllib(run), build(run)
    plain, silent = PlainLoop(run), PlainLoop(run, "control")
    batched = CleanPPO(BatchedWorlds(make_world(dense(), training.worlds)), training.ppo, training.fragment)
    viewed = CleanPPO(ViewedWorlds([one_view(i) for i in range(training.worlds)]), training.ppo, training.fragment)
    sampled = 0

    def count_stock() -> int:
        nonlocal sampled
        before, sampled = sampled, int(stock.train()["num_env_steps_sampled_lifetime"])
        return sampled - before

    def counted(iterate: Callable[[], Any]) -> int:
        iterate()
        return steps

    one_batch, one_by_one = "one batch", "views, one by one"
    return [
        Trainer("agentcomm, RLlib", "on a learned graph", one_batch, partial(counted, mine.train)),
        Trainer("agentcomm, plain loop", "on a learned graph", one_batch, partial(counted, plain.iterate)),
        Trainer("agentcomm, plain loop, control", "nothing", one_batch, partial(counted, silent.iterate)),
        Trainer("PPO as in CleanRL", "nothing", one_batch, partial(counted, batched.iterate)),
        Trainer("PPO as in CleanRL", "nothing", one_by_one, partial(counted, viewed.iterate)),
        Trainer(STOCK, "nothing", one_by_one, count_stock),
    ]


def for_a_while(step: Callable[[], Any], per_call: int) -> int:
    """Repeat a step for a while; returns the env steps."""
    began, calls = time.process_time(), 0
    while time.process_time() - began < SECONDS:
        step()
        calls += 1
    return calls * per_call


def our_world(batch: int, observation: str) -> Callable[[], Any]:
    world = make_world(Choice.model_validate(TASK | {"observation": observation}), batch)
    world.reset(0)
    actions = [torch.randint(world.num_actions, (batch, world.num_agents)) for _ in range(16)]
    turn = iter(range(10**9))
    return lambda: world.step(actions[next(turn) % 16])


def plain_world(batch: int) -> Callable[[], Any]:
    task = {key: value for key, value in TASK.items() if key != "name"}
    world = PlainPredatorPrey(batch, **task)
    world.reset()
    actions = [list(torch.randint(world.num_actions, (world.num_agents, batch))) for _ in range(16)]
    turn = iter(range(10**9))
    return lambda: world.step(actions[next(turn) % 16])


def viewed_world() -> Callable[[], Any]:
    shown = one_view()
    actions = {agent: shown.action_space(agent).sample() for agent in shown.possible_agents}

    def step() -> None:
        if not shown.agents:
            shown.reset()
        shown.step(actions)

    return step


def worlds() -> dict[tuple[str, int], float]:
    """Median env steps per second of processor time, by title and batch."""
    steps = {("agentcomm, indices", b): our_world(b, "indices") for b in BATCHES}
    steps |= {("agentcomm, dense", b): our_world(b, "dense") for b in BATCHES}
    steps |= {("plain batched torch, dense", b): plain_world(b) for b in BATCHES}
    steps["agentcomm's PettingZoo view, dense", 1] = viewed_world()
    works = [partial(for_a_while, step, batch) for (_, batch), step in steps.items()]
    found = in_turns(works, TURNS, "worlds")
    return {key: statistics.median(rate.processor) for key, rate in zip(steps, found, strict=True)}


def thousands(rate: float) -> str:
    return f"{rate / 1000:,.1f}k"


def training_table(trained: list[tuple[Trainer, Rate]]) -> str:
    """Rates of all trainers, and how they compare with stock RLlib in the same turn."""
    stock = next(rate for trainer, rate in trained if trainer.title == STOCK)
    rows = []
    for trainer, rate in trained:
        ratio = statistics.median(a / b for a, b in zip(rate.processor, stock.processor, strict=True))
        middle, slowest, fastest = statistics.median(rate.processor), min(rate.processor), max(rate.processor)
        spread = f"{thousands(slowest)} to {thousands(fastest)}"
        clock = thousands(statistics.median(rate.clock))
        rows.append([trainer.title, trainer.sends, trainer.worlds, thousands(middle), spread, clock, f"{ratio:.1f}"])
    head = ["trainer", "agents send", "worlds are stepped as", "env steps/s", "lowest to highest", "by the clock"]
    return table([*head, "times stock RLlib"], rows)


def world_table(alone: dict[tuple[str, int], float]) -> str:
    titles = list(dict.fromkeys(title for title, _ in alone))
    cells = [[thousands(alone[t, b]) if (t, b) in alone else "" for b in BATCHES] for t in titles]
    return table(["world", *(f"B = {b:,}" for b in BATCHES)], [[t, *c] for t, c in zip(titles, cells, strict=True)])


def goal(alone: dict[tuple[str, int], float]) -> str:
    """What the cells say about the goal."""
    said = []
    for kind in ("indices", "dense"):
        rate = alone[f"agentcomm, {kind}", BATCHES[-1]]
        met = "meets" if rate >= GOAL else "misses"
        said.append(f"with {kind} observations our world {met} it ({rate / 1e6:.1f} million)")
    return f"The goal is {GOAL / 1e6:.0f} million at B = {BATCHES[-1]:,}: {' and '.join(said)}."


def page(trained: list[tuple[Trainer, Rate]], alone: dict[tuple[str, int], float], load: float) -> str:
    training = ours().training
    machine = f"{os.cpu_count()} cores ({platform.processor() or platform.machine()})"
    return f"""# Training and worlds beside peers

Written by `python -m benchmarks.peers`, in one run, all in turns: medians of {TURNS} turns after {WARM_UP} to warm up.
Env steps per second of processor time of this process with one torch thread, which other load distorts less than
the clock; an env step is one step of one world for the whole team. Predator-Prey {TASK["size"]}x{TASK["size"]}, \
{TASK["predators"]} predators, vision {TASK["vision"]}. {machine}, load average
{load:.1f} at the start; {packages()}.

## Training

{training_table(trained)}

Each iteration has {training.worlds} worlds and {training.fragment} steps of each, {training.ppo.epochs} epochs, and \
minibatches of {training.ppo.minibatch} joint steps. All sample in
the process of the learner.

- *agentcomm* trains CommFormer of width 64 on index observations; its control is the same policy without messages.
- The peers train two hidden layers of 64 units, shared by all agents, on dense observations, and do not communicate.
- Rates say nothing about what is learned.
- *PPO as in CleanRL* is `clean_ppo.py`. *Stock RLlib* is its new API stack with its default module on our PettingZoo
  view (`stock_rllib.py`); it steps multi-agent environments one by one.
- The last column is the median of the turns' ratios.
- CommFormer's released code is not part of this run. Its rate of {RELEASED_CODE} is a constant, measured by the clock
  on two threads of a machine of the same kind at another time.

## Worlds alone

Random actions, observations and restarts included.

{world_table(alone)}

*Plain batched torch* is `plain_world.py`: the same rules and observations, one tensor per agent and a loop over agents,
in the way of VMAS; it is not VMAS.

{goal(alone)}
"""


def main() -> None:
    """Measure everything and write ``benchmarks/peers.md``."""
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    alone = worlds()
    with tempfile.TemporaryDirectory() as folder, ray_session(Path(folder, "ray.log")):
        compared = trainers()
        rates = in_turns([trainer.iterate for trainer in compared], TURNS, "training")
    text = page(list(zip(compared, rates, strict=True)), alone, load)
    target = Path(__file__).with_name("peers.md")
    target.write_text(text, encoding="utf-8")
    console.print(text)


if __name__ == "__main__":
    main()
