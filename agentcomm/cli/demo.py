"""The command ``demo``."""

from __future__ import annotations

import os
import sys
import webbrowser
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from agentcomm.cli.evaluate import evaluate_cells
from agentcomm.cli.options import Root
from agentcomm.cli.screen import console, say
from agentcomm.cli.train import train_teams
from agentcomm.runs.config import load


def demo(
    root: Root = Path("runs"),
    resume: Annotated[bool, typer.Option(help="Resume an interrupted demo.")] = False,
    show: Annotated[bool, typer.Option(help="Open the report in a browser, if available.")] = True,
) -> None:
    """Run a complete example: train, evaluate and report (about ten minutes)."""
    from agentcomm import api
    from agentcomm.cli import tables

    config = load(Path(str(files("agentcomm").joinpath("demo.yaml"))))
    cores = os.cpu_count() or 1
    run = train_teams(config, root, resume, "agentcomm demo --resume", jobs=cores)
    rows = evaluate_cells(run.path, jobs=min(4, cores))
    console.print(tables.cells(rows))
    console.print(tables.success(rows))
    page = api.report(run)
    say(f"The report is {page}")
    if show and sys.stdout.isatty():
        webbrowser.open(page.resolve().as_uri())
