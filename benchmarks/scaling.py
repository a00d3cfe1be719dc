"""Cost of one update as the team grows, with four neighbors each: time, and memory kept for the backward pass.

python -m benchmarks.scaling    writes benchmarks/scaling.md

Times are processor time of one thread, so that other load on the machine distorts them little. Every size is measured
in a process of its own, which gives its memory back.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from agentcomm.runs.config import RunConfig, parse
from agentcomm.step.replay import reevaluate
from benchmarks.packages import packages
from benchmarks.plain_loop import PlainLoop

SIZES = (16, 64, 256, 1024, 4096)
FITTED = 64  # agents from which exponents are fitted
# Agents that act in turns take as many exchanges as the graph has layers, so that rollouts of the largest are slow.
CASES = (("learned", "parallel", 4096), ("embedded", "parallel", 4096), ("learned", "autoregressive", 1024))
NEIGHBORS = 4
ROWS = 64  # joint steps per update
TOGETHER = 2**14  # steps of single agents in a minibatch: tensors of more make the kernel clear memory again and again
console = Console()


def config_of(agents: int, topology: str = "learned", decoder: str = "parallel", minibatch: int = ROWS) -> RunConfig:
    """A team with four neighbors each."""
    return parse(
        {
            "name": "scaling",
            "environment": {"name": "oracle_hint", "members": agents, "observation": "indices"},
            "policy": {
                "name": "commformer",
                "topology": {"name": topology, "degree": NEIGHBORS},
                "decoder": decoder,
            },
            "training": {"worlds": 16, "fragment": ROWS // 16, "ppo": {"epochs": 1, "minibatch": minibatch}},
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


class Measured(NamedTuple):
    """Costs of one size.

    Attributes:
        update: Seconds of an update in minibatches of at most ``TOGETHER`` agent-steps, the graph's step included.
        whole: Seconds of an update in one minibatch.
        system: Those of them that the kernel took, which clears the pages of fresh memory.
        sample: Seconds in which graphs are sampled, once per rollout.
        kept: Bytes kept for the backward pass.
        graph: Bytes of the graph's parameters.
    """

    update: float
    whole: float
    system: float
    sample: float
    kept: int
    graph: int


def seconds(what: Callable[[], object], least: float) -> tuple[float, float]:
    """Median processor time of two calls or more that take so many seconds together, and the kernel's part."""
    times: list[tuple[float, float]] = []
    what()
    while sum(total for total, _ in times) < least or len(times) < 2:
        began = os.times()
        what()
        ended = os.times()
        system = ended.system - began.system
        times.append((ended.user - began.user + system, system))
    total, system = (statistics.median(part) for part in zip(*times, strict=True))
    return total, system


def updated(loop: PlainLoop, columns: dict[str, torch.Tensor]) -> None:
    """One update, which leaves the columns as they are."""
    loop.update.run(dict(columns))


def measure(agents: int, topology: str, decoder: str) -> Measured:
    """Costs of a team of so many agents."""
    torch.set_num_threads(1)
    loops = [PlainLoop(config_of(agents, topology, decoder, rows)) for rows in (min(ROWS, TOGETHER // agents), ROWS)]
    graph = loops[0].policy.topology
    assert graph.degree == NEIGHBORS
    columns = loops[0].sampler.collect(ROWS // 16).columns
    (update, _), (whole, system) = (seconds(partial(updated, loop, columns), 1.5) for loop in loops)
    generator = torch.Generator().manual_seed(0)
    sample, _ = seconds(lambda: graph.graph(graph.draw(16, generator), 16), 0.5)
    parameters = sum(p.numel() * p.element_size() for p in loops[0].policy.graph_parameters())
    return Measured(update, whole, system, sample, kept_bytes(loops[0], columns), parameters)


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Slope of log value over log N, least squares."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def section(topology: str, decoder: str, most: int) -> str:
    """Table and exponents of one sort of team, of up to so many agents."""
    sizes = [agents for agents in SIZES if agents <= most]
    found = []
    for agents in track(sizes, f"{topology}, {decoder}", console=console):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            found.append(alone.submit(measure, agents, topology, decoder).result())
    lines = [
        f"| {n:,} | {1000 * m.update:,.0f} | {1e6 * m.update / n:,.0f} | {1000 * m.whole:,.0f}, {1000 * m.system:,.0f}"
        f" | {1000 * m.sample:,.0f} | {m.kept / 2**20:,.0f} | {m.graph / 2**20:,.2f} |"
        for n, m in zip(sizes, found, strict=True)
    ]
    large, costs = zip(*[(n, m) for n, m in zip(sizes, found, strict=True) if n >= FITTED], strict=True)
    update, whole, memory = (exponent(large, [m[part] for m in costs]) for part in (0, 1, 4))
    return (
        f"## Graph *{topology}*, {decoder} decoder\n\n"
        "| agents | ms per update | \N{MICRO SIGN}s per agent | ms in one minibatch, the kernel's part"
        " | ms to sample 16 graphs | MiB kept for the backward pass | MiB of the graph's parameters |\n"
        "|---|---|---|---|---|---|---|\n"
        + "\n".join(lines)
        + f"\n\nFitted exponents from {large[0]} to {large[-1]:,} agents: time **{update:.2f}** (target at most 1.2),"
        f" in one minibatch {whole:.2f}, memory **{memory:.2f}**.\n"
    )


def main() -> None:
    """Measure, and write ``benchmarks/scaling.md``."""
    sections: list[str] = []
    for case in CASES:
        sections.append(section(*case))
        write(sections)


def write(sections: Sequence[str]) -> None:
    """Write the page with the sections that there are."""
    text = (
        "# Cost of an update as the team grows\n\n"
        f"Written by `make bench`: oracle_hint, k = {NEIGHBORS} senders per receiver, D = 64, {ROWS} joint steps of 16"
        " worlds per update. Processor time of one thread (median of two or more, after a first one), on a machine of"
        f" {os.cpu_count()} cores with load average {os.getloadavg()[0]:.1f} at the end; {packages()}.\n\n"
        "A *learned* graph has a logit per pair of agents, once and not per world: its parameters, and the steps of"
        " their optimizer, grow with the square of the team. An *embedded* one has a vector per agent; only"
        " the time in which all pairs are compared is quadratic.\n\n"
        f"An update is in minibatches of at most {TOGETHER:,} steps of single agents. Tensors of larger ones are"
        " returned to the kernel as soon as they are freed, which clears every page again when it hands it out: see the"
        " column of updates in one minibatch, whose memory for the backward pass is given.\n\n" + "\n".join(sections)
    )
    Path(__file__).with_name("scaling.md").write_text(text, encoding="utf-8")
    console.print(text, markup=False)


if __name__ == "__main__":
    main()
