"""Writes the pages of studies from the cells of the published runs.

python studies/pages.py            all pages
python studies/pages.py budgets    one page
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer
from cells import RUNS, Cells
from plan import STUDIES
from study import write


def main(studies: Annotated[list[str] | None, typer.Argument(help="names of studies; all by default")] = None) -> None:
    """Write pages."""
    if unknown := set(studies or ()) - set(STUDIES):
        raise typer.BadParameter(f"there is no study {', '.join(unknown)}; there are {', '.join(STUDIES)}")
    cells = Cells.read(RUNS)
    for name in studies or STUDIES:
        typer.echo(f"Wrote {write(name, import_module(name).made, cells)}")


if __name__ == "__main__":
    typer.run(main)
