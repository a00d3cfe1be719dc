"""kill -9 at random moments of training, evaluation, recording and report: is the result the same as without?

    python -m benchmarks.kills --kills 20

Each command is started again after each kill, as a user would, until it ends by itself. The finished run is compared
with an undisturbed one, which evaluates in one process: weights bit for bit, rows of progress and cells without the
time that they took, recordings and the page as they are. Writes ``benchmarks/kills.md``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agentcomm.base.documents import read_rows

CONFIG = """name: NAME
environment: {name: predator_capture_prey, observation: indices, max_steps: 10}
policy: {name: commformer, width: 16, gate: {cost: 0.01}}
seeds: [0, 1]
training: {env_steps: 65536, worlds: 64, fragment: 8, evaluate_every: 0, checkpoint_every: 2, threads: 1}
evaluation: {episodes: 8192, recordings: RECORDINGS, attacks: [drop, noise, replay], defenses: [[authenticate], [clip]]}
"""
TIMED = {"seconds", "time", "env_steps_per_second", "threads", "config"}  # config: a hash; the runs have two names
COMMAND = [sys.executable, "-c", "from agentcomm.cli.main import main; main()"]


def command(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    log = (folder / "log").open("ab")
    words = (*COMMAND, *words)
    return subprocess.Popen(words, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its group, as a machine that fails does."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def disturbed(folder: Path, words: tuple[str, ...], kills: int, longest: float, draw: random.Random) -> int:
    """Run a command, kill it at random moments and start it again until it ends; returns how often it was killed."""
    killed = 0
    while True:
        process = command(folder, *words)
        try:
            if killed < kills:
                process.wait(draw.uniform(0.0, longest))
            else:
                process.wait()
        except subprocess.TimeoutExpired:
            kill(process)
            killed += 1
            continue
        if process.returncode:
            said = (folder / "log").read_text()[-2000:]
            raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}: {said}")
        return killed


def untimed(value: Any) -> Any:
    """Rows without what may differ: times, and numbers of threads."""
    if isinstance(value, dict):
        return {key: untimed(inner) for key, inner in value.items() if key not in TIMED}
    return [untimed(inner) for inner in value] if isinstance(value, list) else value


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, none of which may be broken."""
    found, broken = read_rows(path, None, str(path))
    if broken:
        raise RuntimeError(f"{path} has {broken} broken rows")
    out: list[dict[str, Any]] = untimed(found)
    return out


def weights(run: Path) -> dict[str, str]:
    """Hashes of the exported weights."""
    found = sorted(run.glob("teams/*/policy/policy.safetensors"))
    return {path.parent.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def page(run: Path) -> str:
    """The report without the times that it states."""
    text = (run / "report.html").read_text(encoding="utf-8")
    text = re.sub(r"<dt>Evaluated</dt>\s*<dd>[^<]*</dd>", "", text)
    text = re.sub(r"Training took [^<]*", "", text)
    cells = re.split(r'(<section id="cost".*?</section>)', text, flags=re.S)
    cells[1] = re.sub(r"<td>[^<]*</td>(?=\s*</tr>)", "", cells[1])  # the last column is seconds per cell
    return re.sub(r"written: *\{[^}]*\}|folder: [^\n<]*", "", "".join(cells))


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="kills per command")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw, lines = random.Random(asked.seed), []
    with tempfile.TemporaryDirectory() as name:
        folder, calm, wild = Path(name), Path(name, "runs/calm"), Path(name, "runs/wild")
        for run in ("calm", "wild"):
            text = CONFIG.replace("NAME", run).replace("RECORDINGS", "4")
            (folder / f"{run}.yaml").write_text(text)
        began = time.perf_counter()
        command(folder, "train", "calm.yaml").wait()
        lasted = time.perf_counter() - began

        def note(what: str, killed: int, same: bool) -> None:
            lines.append(f"| {what} | {killed} | {'equal' if same else '**different**'} |")
            print(lines[-1], flush=True)

        words = ("train", "wild.yaml", "--resume")
        killed = disturbed(folder, words, asked.kills, 12.0, draw)
        same = weights(calm) == weights(wild) != {}
        same &= all(
            rows(path) == rows(wild / path.relative_to(calm)) for path in sorted(calm.glob("teams/*/progress.jsonl"))
        )
        note("training (two teams and their controls)", killed, same)
        began = time.perf_counter()
        command(folder, "evaluate", "runs/calm").wait()
        lasted = time.perf_counter() - began
        killed = disturbed(folder, ("evaluate", "runs/wild", "--jobs", "2"), asked.kills, 8.0, draw)
        ours, theirs = rows(calm / "cells.jsonl"), rows(wild / "cells.jsonl")
        note("evaluation and recording (24 cells) in two processes, against one", killed, ours == theirs)
        same = (calm / "episodes.json").read_bytes() == (wild / "episodes.json").read_bytes()
        note("recorded episodes", killed, same)
        killed = recording(folder, wild, asked.kills, lasted, draw)
        same = (calm / "episodes.json").read_bytes() == (wild / "episodes.json").read_bytes()
        note("recording alone (all cells known)", killed, same)
        began = time.perf_counter()
        command(folder, "report", "runs/calm").wait()
        lasted = time.perf_counter() - began
        killed = disturbed(folder, ("report", "runs/wild"), asked.kills, lasted, draw)
        note("report", killed, page(calm).replace("calm", "wild") == page(wild))
        stray = [str(path.relative_to(wild)) for path in wild.rglob(".tmp-*")]
        lines.append(f"\nTemporary files left in the run: {len(stray)}.")
    Path(__file__).with_suffix(".md").write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


def recording(folder: Path, run: Path, kills: int, lasted: float, draw: random.Random) -> int:
    """Evaluate a finished grid again, which only records; without the old recordings."""
    (run / "episodes.json").unlink()
    return disturbed(folder, ("evaluate", "runs/wild"), kills, 8.0, draw)


HEAD = """# kill -9 at random moments

`python -m benchmarks.kills` kills each command at random moments, starts it again until it ends by itself, and compares
the run with an undisturbed one: weights and recordings bit for bit, rows without the time that they took, the page
without the times that it states.

| command | kills | result |
|---|---|---|
"""

if __name__ == "__main__":
    main()
