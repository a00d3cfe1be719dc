"""The command ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from agentcomm.base.text import visible
from agentcomm.cli.completion import run_folders
from agentcomm.cli.screen import console, say


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folders of runs, or of several runs each. The first is what the others are compared with.",
            autocompletion=run_folders,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Also write the comparison as a page, such as compare.html.")
    ] = None,
) -> None:
    """Compare runs: what differs in their configs, and by how much scores, damages and attack successes differ.

    Numbers are means over training seeds with 95% intervals. Differences are paired by seed where runs share seeds. A
    difference is marked if it has at least 10 seeds and p at most 0.05, adjusted for all differences of the table
    (Holm). Runs in different environments are compared by what they retain of the value of their messages, and by the
    attacks' success.
    """
    from agentcomm import api
    from agentcomm.report.compare_tables import reading, tables

    made = api.compare(runs, output)
    console.print(_differing(made))
    for note in made.notes:
        say(note)
    for table in tables(made):
        console.print(_table(table))
    say(reading(made))
    if output is not None:
        say(f"The page is {output}")


def _differing(made: Any) -> Table:
    """What differs between the runs."""
    table = Table(title=f"What differs between {', '.join(map(visible, made.names))}", title_justify="left")
    table.add_column("key", overflow="fold")
    table.add_column("values", overflow="fold")
    for row in made.differs:
        values = [f"{value}: {', '.join(names)}" for value, names in row.groups()]
        table.add_row(visible(row.what), visible("\n".join(values)))
    if not made.differs:
        table.add_row("nothing", "the configs are equal")
    return table


def _table(made: Any) -> Table:
    """A table of the comparison."""
    table = Table(title=made.title, title_justify="left")
    table.add_column("attack / defense" if made.key == "attacked" else "defense", overflow="fold")
    table.add_column("run", overflow="fold")
    for column in made.columns:
        table.add_column(visible(column), justify="right", overflow="fold")
    for block in made.blocks:
        for number, (run, cells) in enumerate(block.rows):
            texts = [
                Text.assemble(
                    (visible(cell.text), "bold" if cell.supported else ""),
                    (f"\n{visible(cell.detail)}" if cell.detail else "", "dim"),
                )
                for cell in cells
            ]
            last = number + 1 == len(block.rows)
            table.add_row("" if number else visible(block.heading), visible(run), *texts, end_section=last)
    return table
