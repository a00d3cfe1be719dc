"""The command ``evaluate``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

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
    trust: Trust = False,
) -> None:
    """Evaluate the trained teams of RUN under attacks and defenses; skips cells that are already evaluated."""
    rows = evaluate_cells(run, attack, defense, conditions, trust)
    console.print(tables.cells(rows))
    if any("attack_success" in row.get("metrics", {}) for row in rows):
        console.print(tables.success(rows))
    warn_of_broken_lines(run)
    say(f"All cells are in {run / 'cells.jsonl'}. Next: agentcomm report {shlex.quote(str(run))}")
    failed = dict.fromkeys(
        f"{row['attack']['label']}: {row['error']}" for row in rows if row["status"] == "failed" and row["attack"]
    )
    if failed:
        complain(f"{len(failed)} attack(s) could not be evaluated\n" + "\n".join(failed))
        raise typer.Exit(1)


def evaluate_cells(
    run: Path,
    attack: list[str] | None = None,
    defense: list[str] | None = None,
    conditions: dict[str, Any] | None = None,
    trust: bool = False,
) -> list[dict[str, Any]]:
    """Evaluate cells with a progress bar; Ctrl-C ends the command."""
    progress = Progress(
        TextColumn("evaluating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
    )
    task = progress.add_task("", total=None)

    def watch(cell: Cell, done: int, total: int) -> None:
        progress.start()
        label = f"{'clean' if cell.attack is None else cell.attack.label} / {cell.defense_label}"
        progress.update(task, completed=done, total=total, description=visible(label))

    try:
        rows = api.evaluate(run, attack, defense, conditions, watch, trust)
        progress.update(task, completed=len(rows), total=len(rows), description="")
    except KeyboardInterrupt:
        progress.stop()
        say("Stopped; finished cells are saved. Run the same command again to evaluate the rest.")
        raise typer.Exit(130) from None
    finally:
        progress.stop()
    return rows
