"""Evaluates the missing cells of studies on the published runs. Finished cells are kept: run it again to resume.

python studies/run.py                    all studies
python studies/run.py budgets --jobs 2   one study, two cells at a time
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from cells import RUNS as FOLDER
from plan import RUNS, STUDIES, Grid, planned
from plan import Conditions as Under

from agentcomm import api
from agentcomm.base.errors import AgentcommError
from agentcomm.runs.choices import TransportConfig
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.folder import Run, open_run

JOBS = os.cpu_count() or 1


def evaluate(studies: Sequence[str], jobs: int = JOBS, root: Path = FOLDER, only: Sequence[str] = ()) -> None:
    """Evaluate the cells of some studies that are missing.

    Args:
        studies: Names of studies.
        jobs: Cells at a time.
        root: Where published runs lie.
        only: Names of runs to evaluate; all if empty.
    """
    torch.set_num_threads(1)
    grids = merged(grid for name in studies for grid in STUDIES[name])
    began = time.monotonic()
    for done, grid in enumerate(grids):
        if only and grid.run not in only:
            continue
        if not (root / grid.run / "config.yaml").exists():
            typer.echo(f"{grid.run} is not trained yet: python studies/train.py --publish {grid.run}")
            continue
        run = open_run(root / grid.run, trust=True)  # our own: some name environments of other packages
        if grid.teams:
            run.config = run.config.model_copy(update={"seeds": run.config.seeds[: grid.teams]})
        typer.echo(f"[{done + 1}/{len(grids)}, {time.monotonic() - began:.0f} s] {_named(grid)}")
        under = [_conditions(run, fields) for fields in grid.conditions]
        rows = api.evaluate(run, list(grid.attacks), list(grid.defenses), under, jobs=jobs)
        for row in rows:
            if row["status"] == "failed":
                typer.echo(f"failed: {grid.run} {row['id']}: {row['error']}", err=True)


def merged(grids: Iterable[Grid]) -> list[Grid]:
    """Grids that differ only in their attacks as one, so that processes start seldom."""
    found: dict[str, Grid] = {}
    for grid in grids:
        key = repr((grid.run, grid.defenses, grid.conditions, grid.teams))
        before = found.get(key, grid._replace(attacks=()))
        found[key] = grid._replace(attacks=tuple(dict.fromkeys((*before.attacks, *planned(grid)))))
    return sorted(found.values(), key=lambda grid: RUNS.index(grid.run))


def _conditions(run: Run, fields: Under) -> Conditions:
    """Conditions of a grid: the run's own, with some fields changed."""
    own = run.config.transport
    rest = {key: value for key, value in fields.items() if key != "codec"}
    transport = own if "codec" not in fields else TransportConfig.model_validate({"codec": fields["codec"]})
    return Conditions.model_validate({**rest, "transport": transport})


def _named(grid: Grid) -> str:
    defenses = len(grid.defenses) + 1
    return (
        f"{grid.run}: {len(grid.attacks)} attacks x {defenses} groups of defenses x {len(grid.conditions)} conditions"
    )


def main(
    studies: Annotated[list[str] | None, typer.Argument(help=f"some of {', '.join(STUDIES)}; all by default")] = None,
    jobs: Annotated[int, typer.Option(help="cells at a time, one thread each")] = JOBS,
    run: Annotated[list[str] | None, typer.Option(help="only this run; may be given several times")] = None,
    root: Annotated[Path, typer.Option(help="where published runs lie")] = FOLDER,
) -> None:
    """Evaluate the cells that are missing."""
    if unknown := set(studies or ()) - set(STUDIES):
        raise typer.BadParameter(f"there is no study {', '.join(unknown)}; there are {', '.join(STUDIES)}")
    try:
        evaluate(studies or list(STUDIES), jobs, root, run or ())
    except AgentcommError as error:
        raise typer.BadParameter(str(error)) from None


if __name__ == "__main__":
    typer.run(main)
