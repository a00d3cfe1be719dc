"""Rows in ``cells.jsonl``: which of them are valid, and their order.

While a grid is evaluated, its rows are appended as its cells finish. Afterwards they are put in the order of the grid,
so that the file does not depend on the number of processes, nor on interruptions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agentcomm.base.documents import read_rows
from agentcomm.base.files import write_text
from agentcomm.evaluation.cells import Cell
from agentcomm.runs.folder import Run
from agentcomm.runs.rows import CellRow

Row = dict[str, Any]


def read(run: Run) -> list[Row]:
    """All readable rows, also those of stale and failed cells."""
    return read_rows(run.cells, CellRow, str(run.cells), run.path)[0]


def current(rows: Sequence[Row]) -> dict[str, Row]:
    """Rows that are not stale, by id."""
    return {row["id"]: row for row in rows if not row.get("stale")}


def write(run: Run, rows: Sequence[Row]) -> None:
    """Replace all rows in one step."""
    write_text(run.cells, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def forget_failed(run: Run, rows: list[Row], cells: Sequence[Cell]) -> list[Row]:
    """Remove the failed rows of some cells; returns the others."""
    names = {cell.id for cell in cells}
    kept = [row for row in rows if not (row["id"] in names and row.get("status") == "failed" and not row.get("stale"))]
    if len(kept) < len(rows):
        write(run, kept)
    return kept


def put_in_order(run: Run, cells: Sequence[Cell]) -> None:
    """Put the current rows of a grid's cells in the order of the grid; other rows keep their places.

    A file with unreadable lines is left as it is: the user is warned of them, and may want to mend them.
    """
    rows, broken = read_rows(run.cells, CellRow, str(run.cells), run.path)
    rank = {cell.id: place for place, cell in enumerate(cells)}
    places = [i for i, row in enumerate(rows) if row["id"] in rank and not row.get("stale")]
    ordered = sorted((rows[i] for i in places), key=lambda row: rank[row["id"]])
    if broken or ordered == [rows[i] for i in places]:
        return
    for place, row in zip(places, ordered, strict=True):
        rows[place] = row
    write(run, rows)
