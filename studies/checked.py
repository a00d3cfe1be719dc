"""Runs samples of published cells again whose code has changed since they were evaluated: are their numbers the same?

python studies/checked.py --sample 20    writes studies/runs/NAME/checked.json of each run with such cells

The file has the identity under which each cell of the sample was run again, all recorded numbers equal but for the last
digits of floats, which depend on the kind of processor.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from cells import RUNS

from agentcomm import api
from agentcomm.base.errors import AgentcommError
from agentcomm.base.files import write_text
from agentcomm.evaluation import stored
from agentcomm.evaluation.identity import Identities, cell_of, differences
from agentcomm.runs.folder import open_run

NAME = "checked.json"


def check(folder: Path, sample: int, seed: int = 0) -> int:
    """Run cells of a run again if any of its cells is of other code; returns how many.

    Args:
        folder: The published run.
        sample: Number of cells, chosen at random.
        seed: Seed of that choice.

    Raises:
        AgentcommError: If a number differs.
    """
    run = open_run(folder, trust=True)
    identities, rows = Identities(run), stored.current(stored.read(run))
    if not any(differences(row["identity"], identities.of(cell_of(row))) for row in rows.values()):
        (folder / NAME).unlink(missing_ok=True)
        return 0
    found = api.rerun(run, sample=min(sample, len(rows)), seed=seed, changed=True, progress=False)
    # versions name code, as hashes do; what counts are the numbers that it gives
    numbers = {
        one.id: [d for d in one.differences if not d.field.endswith(".version") and not d.slight] for one in found
    }
    if different := [name for name, differences in numbers.items() if differences]:
        raise AgentcommError(f"{folder.name}: {len(different)} of {len(found)} cells differ, such as {different[0]}")
    now = {one.id: identities.of(cell_of(rows[one.id])) for one in found}
    write_text(folder / NAME, json.dumps(now, indent=1, sort_keys=True) + "\n")
    return len(found)


def main(
    names: Annotated[list[str] | None, typer.Argument(help="published runs; all by default")] = None,
    sample: Annotated[int, typer.Option(help="cells per run")] = 20,
) -> None:
    """Check published runs."""
    for folder in sorted(path.parent for path in RUNS.glob("*/cells.jsonl") if not names or path.parent.name in names):
        if (folder / "config.yaml").exists():
            count = check(folder, sample)
            typer.echo(f"{folder.name}: " + (f"{count} cells run again, all equal" if count else "of the present code"))


if __name__ == "__main__":
    typer.run(main)
