"""One row per cell, in flat columns.

Columns, in this order; those that no cell has are left out:

- ``run``, ``variant`` (``team``, or ``control`` for the team retrained without messages), ``seed``, ``policy``
- all other fields of a line of ``cells.jsonl`` (:class:`agentcomm.runs.rows.CellRow`), objects of a fixed shape as
  one column per entry, with dots: ``metrics.mean_steps``, ``attack.label``, ``effect.damage``,
  ``counterparts.clean.metrics.success``, ``detection.warden.auroc``, ``provenance.commit``
- lists, and objects whose keys are arguments of plug-ins (:data:`JSON`), as JSON text in one column

Numbers have full precision. A cell without a value is empty (CSV) or null (Parquet): an unattacked cell has no
``attack.label``, a failed cell no metrics.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from agentcomm.report.load import RunData

JSON = {
    "attack.arguments",
    "attack.assumes",
    "attack.threat",
    "conditions",
    "environment.arguments",
    "references",
    "training",
    "violations",
}

Value = str | int | float | bool | None


def flat_rows(runs: Sequence[RunData]) -> list[dict[str, Value]]:
    """The cells of all runs, every row with the same columns in the same order."""
    rows = [dict(_flat(run, cell)) for run in runs for cell in (*run.cells, *run.others)]
    columns: dict[str, None] = {}
    for row in rows:
        columns |= dict.fromkeys(row)
    first = ("run", "variant", "seed", "policy")
    top = list(dict.fromkeys(name.partition(".")[0] for name in columns))
    order = sorted(columns, key=lambda name: (name not in first, top.index(name.partition(".")[0])))
    return [{name: row.get(name) for name in order} for row in rows]


def _flat(run: RunData, cell: dict[str, Any]) -> Iterator[tuple[str, Value]]:
    policy = run.config.get("policy")
    yield "run", run.name
    yield "variant", cell["variant"]
    yield "seed", cell["seed"]
    yield "policy", policy.get("name") if isinstance(policy, dict) else None
    for name, value in cell.items():
        if name not in ("variant", "seed"):
            yield from _columns(name, value)


def _columns(name: str, value: Any) -> Iterator[tuple[str, Value]]:
    """A value as one or several columns."""
    if value is None:
        return
    if isinstance(value, str | int | float | bool):
        yield name, value
    elif isinstance(value, dict) and name not in JSON:
        for key, inner in value.items():
            yield from _columns(f"{name}.{key}", inner)
    else:
        yield name, json.dumps(value)
