"""The command ``evaluate``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from agentcomm import api
from agentcomm.base.text import visible
from agentcomm.cli import tables
from agentcomm.cli.options import RunFolder, Trust, takes_conditions
from agentcomm.cli.screen import complain, console, say, warn_of_broken_lines
from agentcomm.evaluation.cells import Cell


@takes_conditions
def evaluate(
    run: RunFolder,
    conditions: dict[str, Any],
    attack: Annotated[
        list[str] | None,
        typer.Option(help="Attack as name or name:key=value,key=value; can be repeated. Default: the config's."),
    ] = None,
    defense: Annotated[
        list[str] | None,
        typer.Option(help="Defense, written like --attack; join several with +: authenticate+clip."),
    ] = None,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Evaluate each cell in a process of its own, for plug-ins that crash.")
    ] = False,
    trust: Trust = False,
) -> None:
    """Evaluate the trained teams of RUN under attacks and defenses; skips cells that are already evaluated."""
    rows = evaluate_cells(run, attack, defense, conditions, isolate, trust)
    console.print(tables.cells(rows))
    if any("attack_success" in row.get("metrics", {}) for row in rows):
        console.print(tables.success(rows))
    if (broken := tables.violations(rows)) is not None:
        console.print(broken)
    for line in tables.reasons(rows):
        say(line)
    warn_of_broken_lines(run)
    say(f"All cells are in {run / 'cells.jsonl'}. Next: agentcomm report {shlex.quote(str(run))}")
    failed = tables.failures(rows)
    if failed:
        complain(f"{len(failed)} failed\n" + "\n".join(failed))
        raise typer.Exit(1)


def evaluate_cells(
    run: Path,
    attack: list[str] | None = None,
    defense: list[str] | None = None,
    conditions: dict[str, Any] | None = None,
    isolate: bool = False,
    trust: bool = False,
) -> list[dict[str, Any]]:
    """Evaluate cells with a progress bar; Ctrl-C ends the command."""
    progress = Progress(
        TextColumn("evaluating"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}", markup=False),
        console=console,
    )
    task = progress.add_task("", total=None)

    def watch(cell: Cell, done: float, total: int) -> None:
        progress.start()
        label = f"{'clean' if cell.attack is None else cell.attack.label} / {cell.defense_label}"
        progress.update(task, completed=done, total=total, description=visible(label))

    try:
        rows = api.evaluate(run, attack, defense, conditions, watch, isolate, trust)
        progress.update(task, completed=len(rows), total=len(rows), description="")
    except KeyboardInterrupt:
        progress.stop()
        say("Stopped; finished cells are saved. Run the same command again to evaluate the rest.")
        raise typer.Exit(130) from None
    finally:
        progress.stop()
    return rows
