"""The command ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentcomm.cli.completion import run_folders, words
from agentcomm.cli.screen import say

FORMATS = ("marl-eval", "csv", "parquet", "latex")


def export(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of runs, such as runs/demo.", autocompletion=run_folders),
    ],
    format_: Annotated[
        str, typer.Option("--format", metavar="|".join(FORMATS), help="The format.", autocompletion=words(FORMATS))
    ],
    output: Annotated[Path, typer.Option(help="File to write.")],
) -> None:
    """Write the evaluated cells of runs for other tools: marl-eval's JSON, tables as CSV or Parquet, or LaTeX."""
    from agentcomm import api

    made = api.export(runs, format_, output)
    for note in made.notes:
        say(note)
    say(f"The cells are in {made.path}")
