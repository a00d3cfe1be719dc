"""The command ``evaluate``."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from agentcomm.base.modules import import_modules
from agentcomm.cli.foreign import Checkpoint, Control, ControlCheckpoint, Episodes, Given, Name, folder_of
from agentcomm.cli.options import (
    Adaptive,
    Address,
    Attacks,
    Defenses,
    Jobs,
    Plugins,
    RetryFailed,
    RunOrCallable,
    Trust,
    takes_conditions,
)
from agentcomm.cli.screen import complain, console, say, warn_of_broken_lines


@takes_conditions
def evaluate(
    run: RunOrCallable,
    conditions: dict[str, Any],
    attack: Attacks = None,
    defense: Defenses = None,
    plugins: Plugins = None,
    checkpoint: Checkpoint = None,
    control: Control = None,
    control_checkpoint: ControlCheckpoint = None,
    name: Name = None,
    episodes: Episodes = None,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Evaluate each cell in a process of its own, for plug-ins that crash.")
    ] = False,
    jobs: Jobs = 1,
    address: Address = None,
    retry_failed: RetryFailed = False,
    adaptive: Adaptive = False,
    trust: Trust = False,
) -> None:
    """Evaluate the trained teams of RUN under attacks and defenses; skips cells that are already evaluated.

    A policy that was trained elsewhere is given as MODULE:FUNCTION, with its environment as --env; it gets a run of its
    own below runs/.
    """
    from agentcomm.cli import tables
    from agentcomm.evaluation.fitting import notes

    import_modules(plugins or ())
    given = Given(checkpoint or (), control, control_checkpoint or (), name, episodes)
    run = folder_of(run, conditions, given, plugins or ())
    began = datetime.now(UTC).isoformat(timespec="seconds")
    more: dict[str, Any] = {"jobs": jobs, "address": address, "retry_failed": retry_failed}
    more["adaptive"] = adaptive or None  # the config may ask for it, too
    rows = evaluate_cells(run, attack, defense, conditions, isolate=isolate, trust=trust, **more)
    console.print(tables.cells(rows))
    if any(row.get("effect") for row in rows):
        console.print(tables.success(rows))
    if (worth := tables.suites(rows)) is not None:
        console.print(worth)
    if (aimed := tables.adaptive(rows)) is not None:
        console.print(aimed)
    if (broken := tables.violations(rows)) is not None:
        console.print(broken)
    for line in (*tables.replaced(rows, began), *tables.reasons(rows), *notes(rows)):
        say(line)
    for line in _unlike_the_report(run, rows):
        say(line)
    warn_of_broken_lines(run)
    say(f"All cells are in {run / 'cells.jsonl'}. Next: agentcomm report {shlex.quote(str(run))}")
    failed = tables.failures(rows)
    if failed:
        number = sum(row["status"] == "failed" for row in rows)
        complain(
            f"{number} failed; to evaluate them again, repeat the command with --retry-failed\n" + "\n".join(failed)
        )
        raise typer.Exit(1)


def _unlike_the_report(run: Path, rows: list[dict[str, Any]]) -> list[str]:
    """Says so if the report shows other cells than those just evaluated, since they have more episodes."""
    from agentcomm.report.load import load_run

    mine = {row["episodes"] for row in rows}
    shown = {row.get("episodes") for row in load_run(run).cells}
    if not mine or shown <= mine:
        return []
    more, own = (f"{max(numbers):,}" for numbers in (shown, mine))
    again = f"agentcomm report {shlex.quote(str(run))} --episodes {max(mine)}"
    return [f"The report shows the cells of {more} episodes, not these of {own}; to show these: {again}"]


def evaluate_cells(
    run: Path,
    attack: list[str] | None = None,
    defense: list[str] | None = None,
    conditions: dict[str, Any] | None = None,
    **more: Any,
) -> list[dict[str, Any]]:
    """Evaluate cells with a progress bar; Ctrl-C ends the command."""
    from agentcomm import api

    try:
        return api.evaluate(run, attack, defense, conditions, **more)
    except KeyboardInterrupt:
        say("Stopped; finished cells are saved. Run the same command again to evaluate the rest.")
        raise typer.Exit(130) from None
