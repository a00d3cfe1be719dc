"""How long a grid takes: 10 attacks x 6 defenses x 3 seeds x 512 episodes, and several processes against one.

    python -m benchmarks.grid RUN

RUN is the folder of a run with trained teams of seeds 0, 1 and 2 on Predator-Capture-Prey; it is copied, not changed.
Writes ``benchmarks/grid.md``. Other work on the machine lengthens the wall time, but hardly the CPU time.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from agentcomm.base.documents import read_rows
from benchmarks.packages import packages

COMMAND = [sys.executable, "-c", "from agentcomm.cli.main import main; main()"]
ATTACKS = ["drop", "noise", "replay", "impersonate", "tamper", "delay", "reorder", "jam", "flood", "gradient"]
DEFENSES = ["authenticate", "clip", "authenticate+clip", "hold_last", "warden", "authenticate+quarantine"]
APART = {"seconds", "time", "provenance"}  # what rows do not say of their cells


@dataclass(frozen=True)
class Measured:
    """What a grid took."""

    jobs: int
    cells: int
    wall: float  # seconds
    cpu: float  # seconds of all its processes
    load: float  # load average of the last minute, at the end
    rows: list[dict[str, object]]

    @property
    def line(self) -> str:
        return f"{self.cells} | {self.jobs} | {self.wall:.0f} | {self.cpu:.0f} | {self.load:.1f}"


def measure(run: Path, jobs: int, attacks: list[str], defenses: list[str], seeds: list[int]) -> Measured:
    """Evaluate a grid in a copy of a run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ignored = shutil.ignore_patterns("checkpoints", "cells.jsonl", "control-*")
        shutil.copytree(run, folder / "run", ignore=ignored)
        grid = {"name": "grid", "runs": ["run"], "seeds": seeds, "attacks": attacks, "defenses": defenses}
        (folder / "grid.yaml").write_text(yaml.safe_dump(grid | {"episodes": 512}))
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        words = [*COMMAND, "grid", "grid.yaml", "--jobs", str(jobs)]
        subprocess.run(words, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        rows, _ = read_rows(folder / "run" / "cells.jsonl", None, "cells")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    kept = [{key: value for key, value in row.items() if key not in APART} for row in rows]
    return Measured(jobs, len(rows), wall, cpu, os.getloadavg()[0], kept)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    one, two = (measure(asked.run, jobs, ATTACKS, DEFENSES, asked.seeds) for jobs in (1, 2))
    failed = sum(row["status"] == "failed" for row in two.rows)
    text = HEAD.format(
        one=one.line,
        two=two.line,
        attacks=", ".join(ATTACKS),
        defenses=", ".join(DEFENSES),
        seeds=", ".join(map(str, asked.seeds)),
        ratio=one.wall / two.wall,
        same="the same" if one.rows == two.rows else "**not the same**",
        failed=failed,
        minutes=two.cpu / 2 / 60,
        cores=os.cpu_count(),
        versions=packages(),
    )
    (Path(__file__).parent / "grid.md").write_text(text, encoding="utf-8")
    print(text)


HEAD = """# Time of a grid

Written by `python -m benchmarks.grid RUN`: Predator-Capture-Prey, CommFormer with a learned graph, seeds {seeds}, 512
episodes per cell, {cores} cores; {versions}.

| grid | cells | jobs | wall, s | CPU, s | load average at the end |
|---|---|---|---|---|---|
| 10 attacks x 6 defenses x 3 seeds | {one} |
| the same | {two} |

A grid also has cells without attack and without defense. Failed cells: {failed}. Two jobs are {ratio:.2f} times as fast
as one, and their rows are {same}. The CPU time is {minutes:.1f} minutes on each of two cores; load above 2 comes from
other work on the machine, and lengthens the wall time.

Attacks: {attacks}. Defenses: {defenses}.
"""

if __name__ == "__main__":
    main()
