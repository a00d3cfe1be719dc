"""What does an attacker take back that is retrained against a frozen filter? Writes studies/runs/retrained/cells.jsonl.

python studies/retrained.py --jobs 2    trains two attackers for each of ten teams; some minutes each

An attacker on the path of all links learns by PPO to lengthen the episodes of a trained, frozen team of capture.yaml:
first without a filter, then against one. Both are evaluated with and without it. In the literature an attacker that is
retrained against a frozen filter takes back 20 to 30% of the return (Xue et al., AAMAS 2022).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cells import RUNS
from plan import group_label
from suite import ALONE, FILTER, RETRAINED, retraining

from agentcomm.base.files import write_text
from agentcomm.contracts.policy import CommPolicy
from agentcomm.evaluation.metrics import measure
from agentcomm.evaluation.play import play
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_comms, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import parse
from benchmarks.plain_loop import PlainLoop

EPISODES, SEED = 512, 1_000_003
BUDGET = {"norm": 4.0, "per_step": 2}  # any change of a third of the messages
VICTIMS = RUNS / "capture" / "teams"
Row = dict[str, Any]


def environment(seed: int, filtered: bool) -> dict[str, Any]:
    """The world of an attacker of a team, which may rewrite some messages as it likes."""
    victim = str(VICTIMS / f"team-{seed}" / "policy")
    about = {"name": "attacker", "victim": victim, "power": "modify", "budget": BUDGET, "observation": "dense"}
    return about | {"defenses": [Choice.parse(FILTER).model_dump()] if filtered else []}


def attacker(seed: int, filtered: bool, steps: int) -> Iterator[CommPolicy]:
    """A trained attacker, half way and at its end."""
    training = {"env_steps": steps, "worlds": 128, "fragment": 16, "evaluate_every": 0}
    about = {"name": "attacker", "environment": environment(seed, filtered), "policy": {"name": "mappo", "width": 32}}
    loop = PlainLoop(parse(about | {"training": training}, "studies/retrained.py"), seed=seed)
    for share in (0.5, 1.0):
        while loop.env_steps < share * steps:
            loop.iterate()
        yield loop.policy


def attacked(seed: int, filtered: bool, policy: CommPolicy) -> dict[str, float]:
    """Metrics of a team under a trained attacker; returns are those of the attacker, and are left out."""
    chosen = Choice.model_validate(environment(seed, filtered))
    with closing(make_world(chosen, EPISODES)) as world:
        found = measure(play(world, policy, make_comms(world, policy), SEED))
    return {"mean_steps": found["mean_steps"]}


def alone(seed: int, filtered: bool) -> dict[str, float]:
    """Metrics of a team without an attacker."""
    saved = policy_file.load(VICTIMS / f"team-{seed}" / "policy")
    with closing(make_world(saved.environment, EPISODES)) as world:
        comms = make_comms(world, saved.policy, (), [Choice.parse(FILTER)] if filtered else [])
        return {"mean_steps": measure(play(world, saved.policy, comms, SEED))["mean_steps"]}


def rows(seed: int, steps: int) -> list[Row]:
    """The rows of a team."""
    torch.set_num_threads(1)
    found = {(ALONE, filtered): alone(seed, filtered) for filtered in (False, True)}
    for trained in (False, True):
        for half, policy in zip((True, False), attacker(seed, trained, steps), strict=True):
            for filtered in (False, True):
                found[retraining(trained, half), filtered] = attacked(seed, filtered, policy)
    return [
        {"id": f"team-{seed}|{what}|{filtered}", "variant": "team", "seed": seed, "attack": None, "status": "ok"}
        | {"defense_label": group_label(FILTER) if filtered else "none", "conditions_label": what, "episodes": EPISODES}
        | {"metrics": metrics}
        for (what, filtered), metrics in found.items()
    ]


def main(
    jobs: Annotated[int, typer.Option(help="teams at a time, one thread each")] = 2,
    seeds: Annotated[int, typer.Option(help="teams")] = 10,
    steps: Annotated[int, typer.Option(help="environment steps of each attacker")] = 40_000,
) -> None:
    """Train the attackers and write the cells."""
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        found = [row for some in pool.map(rows, range(seeds), [steps] * seeds) for row in some]
    target: Path = RUNS / RETRAINED / "cells.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, "".join(json.dumps(row) + "\n" for row in found))
    typer.echo(f"Wrote {len(found)} cells to {target}")


if __name__ == "__main__":
    typer.run(main)
