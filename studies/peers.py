"""Tune methods of communication with the same small budget, on Predator-Capture-Prey.

The budget of every method: learning rates 1e-3 and 3e-3, one option of its architecture in two settings, and two seeds
of 200,000 environment steps each. The setting with the lowest mean number of steps, greedily in 2,048 episodes, is for
training with other seeds and 400,000 steps (``studies/teams/peer_*.yaml``). A method stands in a table only if its
teams need at most 6.8 steps: a scripted team without messages needs 14.2, one with them 6.34.

python studies/peers.py              trains what is missing in studies/runs/peer_tuning/cells.jsonl, about 2 hours
python studies/peers.py slim code    some of the methods
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from cells import RUNS, row_of
from scenarios import TUNING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agentcomm.runs.config import parse
from benchmarks.plain_loop import PlainLoop

RATES = (1e-3, 3e-3)
SEEDS = (100, 101)  # none of those that are published
STEPS, EPISODES = 200_000, 2048
# Policy, the option, its two settings, and the transport.
METHODS: dict[str, tuple[dict[str, Any], str, tuple[Any, Any]]] = {
    "expocomm_static": ({"name": "expocomm"}, "policy.grounding", ("contrast", "observations")),
    "expocomm_one_peer": (
        {"name": "expocomm", "variant": "one_peer"},
        "policy.grounding",
        ("contrast", "observations"),
    ),
    "slim": ({"name": "slim"}, "policy.message", (8, 16)),
    "code": ({"name": "code"}, "policy.rounds", (1, 2)),
    "ddcl": (
        {"name": "commformer", "topology": {"name": "learned", "density": 0.4}},
        "transport.codec.price",
        (4e-3, 4e-4),
    ),
    "commformer": (
        {"name": "commformer", "topology": {"name": "learned", "density": 0.4}},
        "policy.blocks",
        (1, 2),
    ),
    "tarmac": ({"name": "tarmac"}, "policy.rounds", (1, 2)),
    "ic3net": ({"name": "ic3net"}, "policy.rounds", (1, 2)),
    "commnet": ({"name": "commnet"}, "policy.rounds", (1, 2)),
    "mat": ({"name": "mat"}, "policy.blocks", (1, 2)),
    "magic": ({"name": "magic"}, "policy.heads", (1, 4)),
}


def config(method: str, rate: float, setting: Any) -> dict[str, Any]:
    """The config of a run without seeds."""
    policy, option, _ = METHODS[method]
    data: dict[str, Any] = {
        "name": f"peer_{method}",
        "environment": {"name": "predator_capture_prey", "observation": "indices"},
        "policy": {**policy, "width": 32},
        "training": {"env_steps": STEPS, "threads": 1, "evaluate_every": 0, "ppo": {"learning_rate": rate}},
        "evaluation": {"episodes": 512, "recordings": 0},
    }
    if method == "ddcl":
        data["transport"] = {"codec": {"name": "ddcl"}}
    *path, key = option.split(".")
    at = data
    for part in path:
        at = at[part]
    at[key] = setting
    return data


def label(method: str, rate: float, setting: Any) -> str:
    """What cells of a setting are named by."""
    return f"{method} learning_rate={rate:g} {METHODS[method][1]}={setting}"


def trained(method: str, rate: float, setting: Any, seed: int) -> dict[str, Any]:
    """A row of a team after training, greedily in 2,048 episodes."""
    loop = PlainLoop(parse(config(method, rate, setting) | {"seeds": [seed]}, "study"), seed=seed)
    while loop.env_steps < STEPS:
        loop.iterate()
    measured = loop.evaluate(EPISODES)
    metrics = {name: measured[name] for name in ("mean_steps", "success", "bytes_per_step")}
    return row_of(seed, label(method, rate, setting), EPISODES, metrics)


def settings(method: str) -> list[tuple[float, Any]]:
    """Learning rate and option of every setting of a method."""
    return [(rate, option) for rate in RATES for option in METHODS[method][2]]


def main(
    methods: Annotated[list[str] | None, typer.Argument(help="keys of METHODS; all when left out")] = None,
) -> None:
    """Train every setting of some methods; what is in the file already is not trained again."""
    torch.set_num_threads(1)
    target = RUNS / TUNING / "cells.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = target.read_text(encoding="utf-8").splitlines() if target.exists() else []
    there = {json.loads(line)["id"] for line in lines}
    every = [(one, *setting, seed) for one in methods or METHODS for setting in settings(one) for seed in SEEDS]
    missing = [one for one in every if f"team-{one[3]}|{label(*one[:3])}" not in there]
    began = time.perf_counter()
    for done, one in enumerate(missing, 1):
        row = trained(*one)
        with target.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        left = (time.perf_counter() - began) / done * (len(missing) - done) / 60
        typer.echo(f"{row['id']}: {row['metrics']['mean_steps']:.2f} steps; about {left:.0f} min left")


if __name__ == "__main__":
    typer.run(main)
