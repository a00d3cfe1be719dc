"""Cost of one update as the team grows, with four neighbors each: time, and memory kept for the backward pass."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from agentcomm.base.versions import versions
from agentcomm.runs.config import RunConfig, parse
from agentcomm.step.replay import reevaluate
from benchmarks.plain_loop import PlainLoop

SIZES = (8, 16, 32, 64, 128, 256, 512)
NEIGHBORS = 4
ROWS = 64  # joint steps per update
console = Console()


def config_of(agents: int, decoder: str = "parallel") -> RunConfig:
    topology = {"name": "learned", "density": (NEIGHBORS + 0.5) / agents}
    return parse(
        {
            "name": "scaling",
            "environment": {"name": "oracle_hint", "members": agents, "observation": "indices"},
            "policy": {"name": "commformer", "topology": topology, "decoder": decoder},
            "training": {"worlds": 16, "fragment": ROWS // 16, "ppo": {"epochs": 1, "minibatch": ROWS}},
        },
        "benchmark settings",
    )


def kept_bytes(loop: PlainLoop, rows: dict[str, torch.Tensor]) -> int:
    """Bytes of the distinct tensors that a forward pass keeps for its backward pass."""
    kept: dict[int, int] = {}

    def note(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return x

    alive = []
    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        alive.append(reevaluate(loop.policy, rows))
    return sum(kept.values())


def measure(agents: int, decoder: str) -> tuple[float, float]:
    """Milliseconds of an update (the graph's step included), and MiB kept for the backward pass."""
    loop = PlainLoop(config_of(agents, decoder))
    assert loop.policy.topology.degree == NEIGHBORS
    columns = loop.sampler.collect(ROWS // 16).columns
    loop.update.run(columns)
    times = []
    while sum(times) < 1.5 or len(times) < 3:
        began = time.perf_counter()
        loop.update.run(columns)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times), kept_bytes(loop, columns) / 2**20


def exponent(sizes: tuple[int, ...], values: list[float]) -> float:
    """Slope of log value over log N, least squares."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def main() -> None:
    """Measure, and write ``benchmarks/scaling.md``."""
    torch.set_num_threads(1)
    tables = []
    for decoder in ("parallel", "autoregressive"):
        found = [measure(agents, decoder) for agents in SIZES]
        times, sizes = [f[0] for f in found], [f[1] for f in found]
        lines = [f"| {n} | {t:.1f} | {1000 * t / n:.0f} | {m:.1f} |" for n, (t, m) in zip(SIZES, found, strict=True)]
        large = SIZES[3:]
        tables.append(
            f"## {decoder} decoder\n\n"
            "| agents | ms per update | \N{MICRO SIGN}s per agent | MiB kept for the backward pass |\n"
            "|---|---|---|---|\n"
            + "\n".join(lines)
            + f"\n\nFitted exponent of time **{exponent(SIZES, times):.2f}** (target at most 1.2; "
            f"{exponent(large, times[3:]):.2f} from {large[0]} agents up), of memory"
            f" **{exponent(SIZES, sizes):.2f}** ({exponent(large, sizes[3:]):.2f} from {large[0]} agents up).\n"
        )
    text = (
        "# Cost of an update as the team grows\n\n"
        f"Written by `make bench`: oracle_hint, a learned graph with k = {NEIGHBORS}, D = 64, {ROWS} joint steps per"
        f" update, one thread of {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end;"
        f" {versions()}.\n\n" + "\n".join(tables)
    )
    Path(__file__).with_name("scaling.md").write_text(text, encoding="utf-8")
    console.print(text, markup=False)


if __name__ == "__main__":
    main()
