"""Makes cells of what studies/retrained.py writes, so that docs/countermeasures.md can be written from them.

python studies/retrained.py studies/runs/agreement_9 --defense median --root runs/median --seeds 0,1,2,3,4,5,6,7,8,9
python studies/retrained_cells.py runs/*/retrained.jsonl    writes studies/runs/retrained/cells.jsonl
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from cells import RUNS, row_of
from retrained import EPISODES
from suite import RETRAINED

from agentcomm.base.files import write_text


def rows(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """A row per team and kind of attacker: the team's mean return."""
    for line in lines:
        team = json.loads(line)
        for label, value in team["scores"].items():
            row = row_of(team["seed"], label, EPISODES, {"mean_return": value}, team["defenses"])
            yield row | {"id": f"team-{team['seed']}|{team['defenses']}|{label}"}


def main(paths: Annotated[list[Path], typer.Argument(help="files that retrained.py wrote")]) -> None:
    """Write the cells."""
    found = [row for path in paths for row in rows(path.read_text(encoding="utf-8").splitlines())]
    target = RUNS / RETRAINED / "cells.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, "".join(json.dumps(row) + "\n" for row in found))
    typer.echo(f"Wrote {len(found)} cells to {target}")


if __name__ == "__main__":
    typer.run(main)
