"""Compare the speed of this checkout with that of another commit, turn by turn in one run.

python -m benchmarks.paired --before f1526a3    prints the ratios and writes benchmarks/paired.md

Each checkout has a process of its own on one thread; they take turns, so that whatever else the machine does slows both
alike. A ratio above 1 means that this checkout is faster.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.structure import HERE, announce, commit_of, unpack

# Runs in both checkouts: names that have changed are looked up under the present one first.
WORKER = """
import sys, time
import torch
torch.set_num_threads(1)
from benchmarks import settings
from benchmarks.plain_loop import PlainLoop
try:
    from agentcomm.evaluation.play import play
    from agentcomm.runs.assembly import make_comms as between, make_policy, make_world
    from agentcomm.runs.choices import Choice
except ImportError:
    from agentcomm.evaluation.episodes import play
    from agentcomm.assembly import make_network as between, make_policy, make_world
    from agentcomm.config import Choice
run = settings.ours()
loops = {"training, our settings": PlainLoop(run), "training, CommFormer's": PlainLoop(settings.commformer())}
world = make_world(run.environment, 512)
policy = make_policy(run.policy, world)
ATTACKS = {"clean": (), "noise": (Choice(name="noise"),), "impersonate": (Choice(name="impersonate"),)}
GUARDED = (Choice(name="authenticate"), Choice(name="clip"))

def cell(attack, defenses):
    play(world, policy, between(world, policy, ATTACKS[attack], defenses, 1), 7)

tasks = {name: loop.iterate for name, loop in loops.items()}
for attack in ATTACKS:
    for label, defenses in (("", ()), (", authenticate+clip", GUARDED)):
        tasks[f"cell, {attack}{label}"] = lambda a=attack, d=defenses: cell(a, d)
for task in tasks.values():
    task()
print("|".join(tasks), flush=True)
for line in sys.stdin:
    began = time.process_time()
    tasks[line.strip()]()
    print(time.process_time() - began, flush=True)
"""


class Checkout:
    """A process that times tasks in one checkout."""

    def __init__(self, root: Path, folder: Path) -> None:
        folder.mkdir()
        announce(root, folder)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(folder), str(root))), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-P", "-c", WORKER]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, text=True)
        self.tasks = self._line().split("|")

    def seconds(self, task: str) -> float:
        """CPU seconds that one execution of a task takes."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{task}\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"a process that times tasks ended with code {self.process.wait()}")
        return line


def compare(before: Path, folder: Path, rounds: int) -> dict[str, tuple[float, float, float]]:
    """Time every task in both checkouts.

    Args:
        before: The other checkout.
        folder: For temporary files.
        rounds: Turns of each.

    Returns:
        By task: seconds before and now (medians), and the median of the turns' ratios.
    """
    pair = Checkout(before, folder / "announced-before"), Checkout(HERE, folder / "announced-now")
    found: dict[str, tuple[float, float, float]] = {}
    for task in pair[0].tasks:
        times = [tuple(checkout.seconds(task) for checkout in pair) for _ in range(rounds)]
        ratio = statistics.median(old / new for old, new in times)
        found[task] = (*(statistics.median(side) for side in zip(*times, strict=True)), ratio)
        typer.echo(f"{task}: {ratio:.3f}")
    for checkout in pair:
        checkout.close()
    return found


def page(found: dict[str, tuple[float, float, float]], before: str, rounds: int) -> str:
    """The Markdown page."""
    rows = [f"| {task} | {old:.3f} | {new:.3f} | {ratio:.2f} |" for task, (old, new, ratio) in found.items()]
    return "\n".join(
        [
            "# Speed before and after the rebuild",
            "",
            f"CPU seconds on one thread, commit {before} against {commit_of(HERE)}, {rounds} turns each in one run;",
            "the ratio is the median of the turns' ratios, above 1 where this checkout is faster. Written by",
            f"`python -m benchmarks.paired --before {before}`.",
            "",
            "| task | before (s) | now (s) | before / now |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main(
    before: Annotated[str, typer.Option(help="Commit to compare with.")],
    rounds: Annotated[int, typer.Option(help="Turns of each checkout.")] = 15,
) -> None:
    """Time both checkouts in turns and write benchmarks/paired.md."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "checkout"
        unpack(before, checkout)
        found = compare(checkout, Path(folder), rounds)
    (HERE / "benchmarks" / "paired.md").write_text(page(found, before, rounds))


if __name__ == "__main__":
    typer.run(main)
