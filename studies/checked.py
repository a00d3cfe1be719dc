"""Runs samples of published cells again whose code has changed since they were evaluated: are their numbers the same?

python studies/checked.py --sample 20             writes studies/runs/NAME/checked.json of each run with such cells
python studies/checked.py --against ../checkout   on another kind of processor than that of the cells

The file has the identity under which each cell of the samples was run again, all recorded numbers equal bit for bit.

Another kind of processor may add in another order, so that last digits of floats differ, and now and then an action.
With ``--against``, a checkout of code that is known to give the recorded numbers, with an environment in its ``.venv``,
runs cells that differ on this machine as well: it has to get what the present code gets, bit for bit.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from cells import RUNS

from agentcomm import api
from agentcomm.base.errors import AgentcommError
from agentcomm.base.files import write_text
from agentcomm.evaluation import stored
from agentcomm.evaluation.identity import Identities, cell_of, differences
from agentcomm.evaluation.rerun import Rerun
from agentcomm.runs.folder import open_run

NAME = "checked.json"

# Run by the other checkout: prints what differs from the recorded numbers of some cells.
AGAIN = """
import json, sys
from agentcomm import api
from agentcomm.runs.folder import open_run
run = open_run(sys.argv[1], trust=True)
for cell in sys.argv[2:]:
    (one,) = api.rerun(run, cell, changed=True, progress=False)
    print(json.dumps([cell, [[d.field, d.recorded, d.now] for d in one.differences]]))
"""


def check(folder: Path, sample: int, seed: int = 0, against: Path | None = None) -> int:
    """Run cells of a run again if any of its cells is of other code; returns how many.

    Args:
        folder: The published run.
        sample: Number of cells, chosen at random.
        seed: Seed of that choice.
        against: A checkout of code that gives the recorded numbers; None for none.

    Raises:
        AgentcommError: If a number differs, and differs from what the other checkout gives.
    """
    run = open_run(folder, trust=True)
    identities, rows = Identities(run), stored.current(stored.read(run))
    if not any(differences(row["identity"], identities.of(cell_of(row))) for row in rows.values()):
        (folder / NAME).unlink(missing_ok=True)
        return 0
    found = api.rerun(run, sample=min(sample, len(rows)), seed=seed, changed=True, progress=False)
    differing = {one.id: _told(one) for one in found if _told(one)}
    if differing and against is not None:
        elsewhere = _elsewhere(against, folder, list(differing))
        differing = {cell: told for cell, told in differing.items() if told != elsewhere[cell]}
    if differing:
        raise AgentcommError(f"{folder.name}: {len(differing)} of {len(found)} cells differ, such as {min(differing)}")
    now = _before(folder, identities, rows) | {one.id: identities.of(cell_of(rows[one.id])) for one in found}
    write_text(folder / NAME, json.dumps(now, indent=1, sort_keys=True) + "\n")
    return len(found)


def _before(folder: Path, identities: Identities, rows: dict[str, Any]) -> dict[str, Any]:
    """The cells that were run again before, with the present code."""
    path = folder / NAME
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {cell: of for cell, of in found.items() if cell in rows and of == identities.of(cell_of(rows[cell]))}


def _told(one: Rerun) -> list[list[Any]]:
    """What differs of a cell but versions, which name code, as hashes do; what counts are the numbers that it gives."""
    return _numbers([d.field, d.recorded, d.now] for d in one.differences)


def _numbers(differing: Iterable[list[Any]]) -> list[list[Any]]:
    return [[field, *values] for field, *values in differing if not field.endswith(".version")]


def _elsewhere(checkout: Path, folder: Path, cells: list[str]) -> dict[str, list[list[Any]]]:
    """What another checkout finds to differ of some cells, but for versions."""
    run = checkout / "studies/runs" / folder.name
    command = [str(checkout / ".venv/bin/python"), "-c", AGAIN, str(run), *cells]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    if done.returncode:
        raise AgentcommError(f"{checkout}: {done.stderr.strip()[-500:]}")
    return {cell: _numbers(told) for cell, told in map(json.loads, done.stdout.splitlines())}


def main(
    names: Annotated[list[str] | None, typer.Argument(help="published runs; all by default")] = None,
    sample: Annotated[int, typer.Option(help="cells per run")] = 20,
    against: Annotated[Path | None, typer.Option(help="checkout of code that gives the recorded numbers")] = None,
    seed: Annotated[int, typer.Option(help="chooses the cells; those checked before are kept")] = 0,
) -> None:
    """Check published runs."""
    for folder in sorted(path.parent for path in RUNS.glob("*/cells.jsonl") if not names or path.parent.name in names):
        if (folder / "config.yaml").exists():
            count = check(folder, sample, seed, against)
            typer.echo(f"{folder.name}: " + (f"{count} cells run again, all equal" if count else "of the present code"))


if __name__ == "__main__":
    typer.run(main)
