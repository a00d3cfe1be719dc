"""Tune and train methods of communication with the same small budget, on Predator-Capture-Prey.

python studies/peers.py slim    prints a line per setting, and the best one

The budget of every method: learning rates 1e-3 and 3e-3, one option of its architecture in two settings, and two seeds
of 200,000 environment steps each. The setting with the lowest mean number of steps, greedily in 2,048 episodes, is for
training with other seeds and 400,000 steps (``studies/teams/peer_*.yaml``). A method stands in a table only if its
teams need at most 6.8 steps: a scripted team without messages needs 18.3, a told one 6.34.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
import typer

from agentcomm.runs.config import parse
from benchmarks.plain_loop import PlainLoop

RATES = (1e-3, 3e-3)
SEEDS = (100, 101)  # none of those that are published
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


def config(method: str, rate: float, setting: Any, steps: int) -> dict[str, Any]:
    """The config of a run without seeds."""
    policy, option, _ = METHODS[method]
    data: dict[str, Any] = {
        "name": f"peer_{method}",
        "environment": {"name": "predator_capture_prey", "observation": "indices"},
        "policy": {**policy, "width": 32},
        "training": {"env_steps": steps, "threads": 1, "evaluate_every": 0, "ppo": {"learning_rate": rate}},
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


def trained(data: dict[str, Any], seed: int) -> dict[str, float]:
    """Metrics of a team after training, greedily in 2,048 episodes."""
    loop = PlainLoop(parse(data | {"seeds": [seed]}, "study"), seed=seed)
    while loop.env_steps < data["training"]["env_steps"]:
        loop.iterate()
    return loop.evaluate(2048)


def tune(
    method: Annotated[str, typer.Argument(help="a key of METHODS")],
    rates: Annotated[list[float], typer.Option(help="learning rates")] = list(RATES),  # noqa: B006
    steps: Annotated[int, typer.Option(help="environment steps per training")] = 200_000,
) -> None:
    """Train every setting of a method and print its results."""
    torch.set_num_threads(1)
    means: dict[str, float] = {}
    for rate in rates:
        for setting in METHODS[method][2]:
            found = [trained(config(method, rate, setting, steps), seed) for seed in SEEDS]
            name = f"learning_rate={rate:g} {METHODS[method][1]}={setting}"
            shown = [
                f"{f['mean_steps']:.2f} steps, success {f['success']:.3f}, {f['bytes_per_step']:.0f} bytes,"
                f" beta {f['bandwidth_budget']:.1f}"
                for f in found
            ]
            means[name] = sum(f["mean_steps"] for f in found) / len(found)
            print(f"{method} {name}: mean {means[name]:.3f} ({'; '.join(shown)})", flush=True)
    print(f"{method} BEST {min(means, key=lambda name: means[name])}", flush=True)


if __name__ == "__main__":
    typer.run(tune)
