"""The command ``evaluate``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import typer

from agentcomm import api
from agentcomm.cli import tables
from agentcomm.cli.options import Attacks, Defenses, Plugins, RunFolder, takes_conditions
from agentcomm.cli.screen import console, errors, say, warn_of_broken_lines
from agentcomm.evaluation.fitting import notes
from agentcomm.runs.config import import_modules


@takes_conditions
def evaluate(
    run: RunFolder,
    conditions: dict[str, Any],
    attack: Attacks = None,
    defense: Defenses = None,
    plugins: Plugins = None,
) -> None:
    """Evaluate the trained teams of RUN under attacks and defenses; skips cells that are already evaluated."""
    import_modules(plugins or ())
    rows = evaluate_cells(run, attack, defense, conditions)
    console.print(tables.cells(rows))
    if any("attack_success" in row.get("metrics", {}) for row in rows):
        console.print(tables.success(rows))
    for note in notes(rows):
        say(note)
    warn_of_broken_lines(run)
    say(f"All cells are in {run / 'cells.jsonl'}. Next: agentcomm report {shlex.quote(str(run))}")
    failed = dict.fromkeys(
        f"{row['attack']['label']}: {row['error']}" for row in rows if row["status"] == "failed" and row["attack"]
    )
    if failed:
        errors.print(
            f"error: {len(failed)} attack(s) could not be evaluated\n" + "\n".join(failed), soft_wrap=True, markup=False
        )
        raise typer.Exit(1)


def evaluate_cells(
    run: Path,
    attack: list[str] | None = None,
    defense: list[str] | None = None,
    conditions: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Evaluate cells with a progress bar; Ctrl-C ends the command."""
    try:
        return api.evaluate(run, attack, defense, conditions)
    except KeyboardInterrupt:
        say("Stopped; finished cells are saved. Run the same command again to evaluate the rest.")
        raise typer.Exit(130) from None
