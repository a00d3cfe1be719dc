"""The command ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentcomm import api
from agentcomm.cli.options import RunFolder
from agentcomm.cli.screen import say, warn_of_broken_lines


def report(
    run: RunFolder,
    output: Annotated[Path | None, typer.Option(help="File to write. Default: RUN/report.html.")] = None,
) -> None:
    """Write a report of RUN: a self-contained page with results, learning curves, graphs and an episode player."""
    say(f"The report is {api.report(run, output)}")
    warn_of_broken_lines(run)
