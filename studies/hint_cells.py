"""Makes cells of what studies/hint_gate.py prints, so that docs/gates.md can be written and computed again from them.

python studies/hint_gate.py > hint.log
python studies/hint_cells.py hint.log    puts them into studies/runs/hint_gate/cells.jsonl
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from cells import RUNS, row_of
from scenarios import HINT, hint

from agentcomm.base.files import write_text

LINE = re.compile(
    r"(?P<kind>\w+) receiver price (?P<price>\S+) logit (?P<logit>\S+): \d+ of \d+ seeds exact;"
    r" precision/recall/reward (?P<found>[-./\d\s]+);"
)
GOOD = 0.95


def rows(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """A row of each seed of each line that tells results; other lines are ignored."""
    for line in lines:
        if not (match := LINE.search(line)):
            continue
        label = hint(match["kind"].replace("_", "-"), match["price"], match["logit"])
        for seed, text in enumerate(match["found"].split()):
            precision, recall, reward = map(float, text.split("/"))
            exact = float(min(precision, recall) >= GOOD)
            metrics = {"precision": precision, "recall": recall, "mean_return": reward, "exact": exact}
            yield row_of(seed, label, 1000, metrics)


def main(logs: Annotated[list[Path], typer.Argument(help="files with what hint_gate.py printed")]) -> None:
    """Write the cells; others that are there stay."""
    found = {row["id"]: row for log in logs for row in rows(log.read_text(encoding="utf-8").splitlines())}
    target = RUNS / HINT / "cells.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    before = target.read_text(encoding="utf-8").splitlines() if target.exists() else ()
    whole = {row["id"]: row for row in map(json.loads, before)} | found
    write_text(target, "".join(json.dumps(row) + "\n" for row in whole.values()))
    typer.echo(f"Wrote {len(found)} cells to {target}")


if __name__ == "__main__":
    typer.run(main)
