"""What it costs an update that closed links are priced in: with and without, turn by turn in one run.

python -m benchmarks.closed    prints the table and writes benchmarks/closed.md
"""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from agentcomm.runs.config import RunConfig, parse
from agentcomm.training.gate_step import GateStep, Rows
from benchmarks.plain_loop import PlainLoop

SIZES = (4, 8, 16, 32, 64)
NEIGHBORS, ROWS, TURNS = 4, 512, 9
GATE = {"kind": "straight_through", "initial_logit": 0.0, "cost": 0.01}
FORMS: dict[str, dict[str, Any]] = {
    "receivers' gates": {"gate": GATE},
    "senders' gates": {"gate": {"side": "sender", **GATE}},
    "dynamic graph": {"topology": {"name": "dynamic", "initial_logit": 0.0}},
}


class MaskedOnly(GateStep):
    """No gradient reaches decisions."""

    def add_gradients(self, rows: Rows, scale: float | torch.Tensor, frozen: torch.Tensor | bool) -> Rows:
        """Add nothing."""
        return {}


def config_of(agents: int, arguments: dict[str, Any]) -> RunConfig:
    """A team with up to four neighbors each."""
    topology = {"name": "random", "density": min((NEIGHBORS + 0.5) / agents, 1.0)}
    return parse(
        {
            "name": "closed",
            "environment": {"name": "oracle_hint", "members": agents, "observation": "indices"},
            "policy": {"name": "commformer", "topology": topology, **arguments},
            "training": {"worlds": 64, "fragment": ROWS // 64, "ppo": {"epochs": 1, "minibatch": ROWS}},
        },
        "benchmark settings",
    )


def paired(agents: int, arguments: dict[str, Any]) -> tuple[float, float]:
    """CPU seconds of an update with masked links only, and the median ratio of one with closed links to it."""
    loops = [PlainLoop(config_of(agents, arguments)) for _ in range(2)]
    loops[0].update.gates = MaskedOnly(loops[0].policy, loops[0].update.generator)
    columns = loops[0].sampler.collect(ROWS // 64).columns
    times: list[list[float]] = []
    for _ in range(TURNS + 1):
        turn = []
        for loop in loops:
            began = time.process_time()
            loop.update.run(dict(columns))
            turn.append(time.process_time() - began)
        times.append(turn)
    warm = times[1:]
    return statistics.median(a for a, _ in warm), statistics.median(b / a for a, b in warm)


def main() -> None:
    """Measure all forms and sizes."""
    torch.set_num_threads(1)
    lines = []
    for name, arguments in FORMS.items():
        sizes = SIZES if "gate" in arguments else SIZES[:4]
        seconds = []
        for agents in sizes:
            masked, ratio = paired(agents, arguments)
            seconds.append(masked * ratio)
            lines.append(f"| {name} | {agents} | {masked:.3f} | {ratio:.2f} |")
            print(lines[-1], flush=True)
        slope = math.log(seconds[-1] / seconds[-3]) / math.log(sizes[-1] / sizes[-3])
        lines.append(f"| {name}, exponent of N | {sizes[-3]} to {sizes[-1]} | | {slope:.2f} |")
        print(lines[-1], flush=True)
    text = (
        f"# Cost of closed links\n\nCPU seconds of an update of {ROWS} joint steps on one thread, {TURNS} turns each in"
        " one run. The ratio is\nthe median over turns of an update that prices closed links in to one that only masks"
        f" them. Gates have up to {NEIGHBORS}\nneighbors; a dynamic graph looks at all pairs of agents either way."
        " Written by `python -m benchmarks.closed`.\n\n"
        "| team | agents | masked (s) | closed / masked |\n|---|---|---|---|\n" + "\n".join(lines) + "\n"
    )
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
