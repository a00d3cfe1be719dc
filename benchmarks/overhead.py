"""Cost of channels, codecs and attacks in training: whole iterations at B = 256, in turn with undisturbed ones."""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from agentcomm.runs.config import parse
from benchmarks.packages import packages
from benchmarks.plain_loop import PlainLoop

ROUNDS = 12
TASK = {"name": "predator_capture_prey", "observation": "indices"}
LOSS = {"name": "loss", "probability": 0.1}
CASES: dict[str, dict[str, Any]] = {
    "undisturbed": {},
    "loss": {"transport": {"channels": [LOSS]}},
    "loss, noise attack": {"transport": {"channels": [LOSS]}, "attacks": [{"name": "noise", "probability": 0.3}]},
    "loss, drop attack": {"transport": {"channels": [LOSS]}, "attacks": [{"name": "drop", "probability": 0.3}]},
    "delay": {"transport": {"channels": [{"name": "delay", "seconds": 0.15, "jitter": 0.1}]}},
    "profile wifi": {"transport": {"channels": [{"name": "profile", "network": "wifi"}]}},
    "int8": {"transport": {"codec": {"name": "int8"}}},
    "top_k": {"transport": {"codec": {"name": "top_k"}}},
    "delta": {"transport": {"codec": {"name": "delta"}}},
}
TARGET = 0.15
console = Console()


def loop(changes: dict[str, Any]) -> PlainLoop:
    base = {
        "name": "overhead",
        "environment": TASK,
        "policy": {"name": "commformer", "topology": {"name": "learned", "density": 0.4}},
        "training": {"worlds": 256, "fragment": 16, "threads": 1},
    }
    return PlainLoop(parse(base | changes, "benchmark settings"))


def main() -> None:
    """Measure in turns, and write ``benchmarks/overhead.md``."""
    loops = {name: loop(changes) for name, changes in CASES.items()}
    for made in loops.values():
        made.iterate()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for _ in track(range(ROUNDS), "measuring", console=console):
        for name, made in loops.items():
            timing = made.iterate()
            seconds[name].append((timing.total, timing.sample))
    lines = []
    for name, times in seconds.items():
        ratios = [a[0] / b[0] - 1 for a, b in zip(times, seconds["undisturbed"], strict=True)]
        total, sample = (1000 * statistics.median(t[i] for t in times) for i in (0, 1))
        lines.append(f"| {name} | {total:.0f} | {sample:.0f} | {statistics.median(ratios):+.0%} |")
    table = "\n".join(lines)
    text = f"""# Cost of channels, codecs and attacks in training

Written by `make bench`: Predator-Capture-Prey, CommFormer (k = 1), 256 worlds x 16 steps, sampling and update, medians
of {ROUNDS} iterations measured in turn on {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end;
{packages()}.

| | ms per iteration | of which sampling | over undisturbed |
|---|---|---|---|
{table}

Target: a channel and one stateless attack at most {TARGET:+.0%}.
"""
    Path(__file__).with_name("overhead.md").write_text(text, encoding="utf-8")
    console.print(text, markup=False)


if __name__ == "__main__":
    main()
