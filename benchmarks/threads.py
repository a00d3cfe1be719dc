"""One or two torch threads for a team, alone and beside another process: python -m benchmarks.threads.

Writes threads.md. Each number is that of new processes, which train in our settings with the plain loop. OpenMP's
threads spin while they wait for each other, for as long as ``GOMP_SPINCOUNT`` says: agentcomm sets it to 1,000.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from rich.progress import track

import agentcomm  # noqa: F401  (sets the OpenMP spin before torch is imported)
from benchmarks.packages import packages
from benchmarks.plain_loop import PlainLoop
from benchmarks.settings import ours

ROUNDS, ITERATIONS = 3, 6
CASES = ((1, "1000"), (2, "1000"), (2, "5000"), (2, "10000"))  # threads, spin count


def rate(threads: int) -> float:
    """Env steps per second of the plain loop in this process, a median of iterations."""
    torch.set_num_threads(threads)
    loop = PlainLoop(ours())
    took = [loop.iterate().total for _ in range(ITERATIONS + 2)][2:]
    return loop.run.training.worlds * loop.run.training.fragment / statistics.median(took)


def together(processes: int, threads: int, spin: str) -> float:
    """Env steps per second of each of some processes at the same time, on average."""
    command = [sys.executable, "-m", "benchmarks.threads", str(threads)]
    environment = os.environ | {"GOMP_SPINCOUNT": spin}
    begun = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return statistics.mean(float(process.communicate()[0]) for process in begun)


def main() -> None:
    load = os.getloadavg()[0]
    found: dict[tuple[int, str, int], list[float]] = {}
    for _ in track(range(ROUNDS), description="threads"):
        for threads, spin in CASES:
            for processes in (1, 2):
                found.setdefault((threads, spin, processes), []).append(together(processes, threads, spin))
    lines = [
        "# Threads of a team",
        "",
        "Written by `python -m benchmarks.threads`: env steps per second of the plain loop in our settings, medians of",
        f"{ROUNDS} turns, on {os.cpu_count()} cores ({torch.backends.cpu.get_cpu_capability()}), load average"
        f" {load:.1f} at the start; {packages()}.",
        "",
        "| threads | `GOMP_SPINCOUNT` | alone | two processes at a time, each |",
        "|---|---|---|---|",
    ]
    for threads, spin in CASES:
        alone, beside = (statistics.median(found[threads, spin, processes]) for processes in (1, 2))
        lines.append(f"| {threads} | {spin if threads > 1 else ''} | {alone:,.0f} | {beside:,.0f} |")
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(rate(int(sys.argv[1])))
    else:
        main()
