"""When does a learned gate open? Trains gates on Oracle-Hint with one random moment, where the right answer is known.

An agent's guess counts in one step of an episode, which it is told when it comes. If an open gate costs c per step, a
gate that opens in that step only earns 1 - c and is the best one. Printed for each seed: the share of open gates that
were open in the right step (precision), and the share of right steps in which gates were open (recall), both greedy.

Settings are the same for all initial logits. Agents whose gates start closed must still hear enough to learn to read
messages, so a share of straight-through gates is forced open, gates that are actions have an entropy bonus, and prices
rise in the second half of training.

python studies/hint_gate.py --kind straight_through --price 0.03 --logit 3 --seeds 10
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agentcomm.runs.assembly import make_comms, make_world
from agentcomm.runs.config import RunConfig, parse
from agentcomm.step.loop import TeamLoop
from benchmarks.plain_loop import PlainLoop

WORLDS, STEPS, MEMBERS = 64, 8, 2
KINDS, PRICES, LOGITS, SIDES = ("straight_through", "action"), (0.03, 0.1), (3.0, 0.0, -3.0), ("receiver", "sender")
GOOD = 0.95
GATE = {"forced_open": 0.3, "free_until": 0.5, "full_from": 0.9}  # forced_open acts on straight-through gates only
PPO = {"gamma": 0.0, "entropy": 0.05, "final_entropy": 0.05, "gate_entropy": 0.05}  # gate_entropy on the others only


def settings(updates: int, side: str, ppo: dict[str, Any] | None = None, **gate: Any) -> RunConfig:
    """Two agents, each of which must guess the other's secret in one of eight steps."""
    environment = {"name": "oracle_hint", "members": MEMBERS, "max_steps": STEPS, "moment": "random", "shown_to": side}
    policy = {"name": "commformer", "width": 32, "blocks": 0, "topology": "full", "gate": {"side": side} | GATE | gate}
    # Steps do not depend on each other, and a guess without information is to stay one.
    training: dict[str, Any] = {"worlds": WORLDS, "fragment": STEPS, "evaluate_every": 0, "ppo": PPO | (ppo or {})}
    training["env_steps"] = updates * WORLDS * STEPS
    return parse({"name": "hint", "environment": environment, "policy": policy, "training": training}, "hint_gate")


@torch.no_grad()
def judge(loop: PlainLoop, worlds: int = 1000) -> tuple[float, float, float]:
    """Precision and recall of greedy gates, and the mean reward of an episode without prices."""
    world = make_world(loop.run.environment, worlds)
    team = TeamLoop(world, loop.policy, make_comms(world, loop.policy))
    team.reset(0)
    hits = opened = told = earned = 0.0
    for _ in range(STEPS):
        right = world.told.clone()  # type: ignore[attr-defined]
        record = team.step()
        gate = record.decision.gate
        hits, opened, told = hits + int((gate & right).sum()), opened + int(gate.sum()), told + int(right.sum())
        earned += float(record.step.reward.mean())
        team.finish(record)
    return hits / max(opened, 1), hits / told, earned


def train(
    kind: str, price: float, logit: float, side: str, seed: int, updates: int, more: dict[str, Any]
) -> tuple[float, float, float]:
    """One training: precision, recall and reward."""
    # A gate's cost is multiplied by degree / N, here 1 / 2.
    run = settings(updates, side, kind=kind, cost=price * MEMBERS, initial_logit=logit, **more)
    loop = PlainLoop(run, seed=seed)
    for _ in range(updates):
        loop.iterate()
    return judge(loop)


def main() -> None:
    """Train all combinations that are asked for, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, nargs="*", default=KINDS)
    parser.add_argument("--price", type=float, nargs="*", default=PRICES, help="per open step, in units of reward")
    parser.add_argument("--logit", type=float, nargs="*", default=LOGITS, help="initial logit of gates")
    parser.add_argument("--side", choices=SIDES, nargs="*", default=SIDES[:1])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--updates", type=int, default=400, help=f"of {WORLDS * STEPS} steps of a team each")
    parser.add_argument("--more", default="{}", help="further arguments of the gate, and of ppo, as JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for kind, price, logit, side in itertools.product(given.kind, given.price, given.logit, given.side):
        began = time.perf_counter()
        found = [
            train(kind, price, logit, side, seed, given.updates, json.loads(given.more)) for seed in range(given.seeds)
        ]
        good = sum(precision >= GOOD and recall >= GOOD for precision, recall, _ in found)
        shown = "  ".join(f"{precision:.2f}/{recall:.2f}/{reward:.2f}" for precision, recall, reward in found)
        print(
            f"{kind} {side} price {price} logit {logit}: {good} of {len(found)} seeds exact;"
            f" precision/recall/reward {shown}; {time.perf_counter() - began:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
