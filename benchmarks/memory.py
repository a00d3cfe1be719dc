"""Does memory grow, and is anything left behind? python -m benchmarks.memory [--minutes 30].

Trains a team for a while and stops it as Ctrl-C does, then evaluates 1,000 cells; writes memory.md. Memory is what only
the processes of the command use (USS), every ten seconds. They have a folder for temporary files to themselves.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import yaml

from agentcomm.base.documents import read_rows
from benchmarks.packages import packages

COMMAND = [sys.executable, "-c", "from agentcomm.cli.main import main; main()"]
RUN = Path(__file__).parents[1] / "studies" / "runs" / "reactor"
TEAM = RUN.parents[1] / "teams" / "capture.yaml"
STRENGTHS, EVERY = 100, 10.0


class Watched(NamedTuple):
    """What a command did to memory.

    Attributes:
        seconds: How long it ran.
        memory: Bytes, every ten seconds.
        alive: Its processes that are still there 10 seconds after its end.
        files: What is left in the folder for temporary files.
    """

    seconds: float
    memory: list[int]
    alive: int
    files: int

    def row(self, what: str) -> str:
        """A line of the table: the medians of the second and of the last tenth."""
        tenth = max(len(self.memory) // 10, 1)
        early, late = (
            statistics.median(part) / 2**20 for part in (self.memory[tenth : 2 * tenth], self.memory[-tenth:])
        )
        growth = f"{early:.0f} | {late:.0f} | {late - early:+.0f}"
        return f"| {what} | {self.seconds / 60:.1f} | {growth} | {self.alive} | {self.files} |"


def watch(words: list[str], folder: Path, seconds: float = float("inf")) -> Watched:
    """Run a command, for so long at most."""
    temporary = folder / "t"
    temporary.mkdir(exist_ok=True)
    began, memory, own = time.monotonic(), [], set()
    environment = os.environ | {"TMPDIR": str(temporary)}
    process = subprocess.Popen([*COMMAND, *words], cwd=folder, env=environment, start_new_session=True)
    while process.poll() is None:
        if time.monotonic() - began > seconds:
            process.send_signal(signal.SIGINT)
            process.wait(120)
            break
        time.sleep(EVERY)
        try:
            here = psutil.Process(process.pid)
            now = {here, *here.children(recursive=True)}
            memory.append(sum(one.memory_full_info().uss for one in now))
            own |= now
        except psutil.Error:  # one of them has just ended
            continue
    took = time.monotonic() - began
    time.sleep(10)
    return Watched(took, memory, sum(one.is_running() for one in own), len(list(temporary.iterdir())))


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="of training")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="m") as name:
        folder, load = Path(name), os.getloadavg()[0]
        team = ["train", str(TEAM), "seeds=[0]", "control=false", "training.env_steps=100000000", "--root", name]
        trained = watch(team, folder, 60 * asked.minutes)
        shutil.copytree(RUN, folder / "run", ignore=shutil.ignore_patterns("cells.jsonl", "control-*"))
        attacks = [{"name": "drop", "probability": (i + 1) / STRENGTHS} for i in range(STRENGTHS)]
        grid = {"name": "many", "runs": ["run"], "attacks": attacks, "episodes": 64}
        (folder / "many.yaml").write_text(yaml.safe_dump(grid))
        evaluated = watch(["grid", "many.yaml", "--jobs", "1"], folder)
        cells = len(read_rows(folder / "run" / "cells.jsonl", None, "cells")[0])
    text = f"""# Memory over time

Written by `python -m benchmarks.memory`: MiB that only the processes of a command use (USS), medians of the second and
of the last tenth of its time; processes and temporary files that are left 10 seconds after it. {os.cpu_count()} cores,
load average {load:.1f} at the start; {packages()}.

| command | minutes | early | late | growth | processes left | files left |
|---|---|---|---|---|---|---|
{trained.row("training, stopped with Ctrl-C")}
{evaluated.row(f"evaluation of {cells:,} cells, one job")}
"""
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
