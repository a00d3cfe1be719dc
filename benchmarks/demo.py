"""Runs the demo as a user would, measures its time and memory, and compares its numbers with their targets."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks.packages import packages

console = Console()
COMMAND = [sys.executable, "-c", "from agentcomm.cli.main import main; main()", "demo", "--no-show"]


def proportional_memory(process: psutil.Process) -> int:
    """Bytes of a process and all its children; pages they share are divided among them (PSS)."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:  # it ended in between
            continue
    return total


def main() -> None:
    """Run, watch, and write ``benchmarks/demo.md``."""
    with tempfile.TemporaryDirectory() as folder:
        began, load = time.perf_counter(), os.getloadavg()[0]
        process = subprocess.Popen([*COMMAND, "--root", folder])
        peak = 0
        while process.poll() is None:
            peak = max(peak, proportional_memory(psutil.Process(process.pid)))
            time.sleep(1)
        if process.returncode:
            raise SystemExit(process.returncode)
        minutes = (time.perf_counter() - began) / 60
        run = Path(folder, "demo")
        rows = [json.loads(line) for line in (run / "cells.jsonl").read_text(encoding="utf-8").splitlines()]
        seconds = {
            team.name: json.loads((team / "progress.jsonl").read_text(encoding="utf-8").splitlines()[-1])["seconds"]
            for team in sorted((run / "teams").iterdir())
        }
    clean = [r for r in rows if r["attack"] is None and r["defense_label"] == "none"]
    team = [r["metrics"] for r in clean if r["variant"] == "team"]
    control = [r["metrics"] for r in clean if r["variant"] == "control"]

    def each(metrics: list[dict[str, float]], name: str) -> str:
        mean = statistics.mean(m[name] for m in metrics)
        return f"{mean:.2f} ({', '.join(f'{m[name]:.2f}' for m in metrics)})"

    text = f"""# The demo

Written by `make bench`: `agentcomm demo` on {os.cpu_count()} cores, load average {load:.1f} at the start; {packages()}.

| | measured | target |
|---|---|---|
| minutes, after set-up | {minutes:.1f} | at most 8 |
| peak memory of all processes (PSS) | {peak / 2**30:.2f} GiB | below 3 GiB |
| mean steps, learned graph (k = 1) and gate: mean (each seed) | {each(team, "mean_steps")} | at most 7.5 |
| success | {each(team, "success")} | at least 0.97 |
| messages per step, of 6.00 with gates always open | {each(team, "messages_per_step")} | |
| mean steps, retrained without messages | {each(control, "mean_steps")} | above 14 |

Predator-Capture-Prey 5x5, 2 + 1 agents, cap 20; greedy, {clean[0]["episodes"]} episodes per seed over a fixed horizon.
Seconds of training by team: {", ".join(f"{name} {s:.0f}" for name, s in seconds.items())}.
"""
    Path(__file__).with_name("demo.md").write_text(text, encoding="utf-8")
    console.print(text, markup=False)


if __name__ == "__main__":
    main()
