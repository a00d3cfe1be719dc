"""Runs recorded cells again, each from its row and the team's policy alone, and compares every number bit for bit."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from agentcomm.base.errors import ConfigError, RunError
from agentcomm.evaluation import stored
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.grid import Evaluator
from agentcomm.evaluation.identity import Identities, cell_of, differences
from agentcomm.evaluation.provenance import one_thread
from agentcomm.evaluation.schedule import Tally, Watch, batches
from agentcomm.evaluation.stored import Row
from agentcomm.runs.folder import Run

# What a row says of its making rather than of the cell. Packages of other versions show in the numbers, if at all.
NOT_COMPARED = {"seconds", "time", "provenance", "identity", "replaces", "stale", "versions"}
MOST_LISTED = 5
MISSING = "missing"
CLOSE = 1e-6  # relative difference: processors with other vector units add the same numbers in another order


@dataclass(frozen=True)
class Difference:
    """A field of a row that is not the same as before.

    Attributes:
        field: Its path, such as ``metrics.success``.
        recorded: The value in ``cells.jsonl``.
        now: The value now.
    """

    field: str
    recorded: Any
    now: Any

    @property
    def slight(self) -> bool:
        """Whether two floats differ in their last digits only, as on another kind of processor."""
        floats = isinstance(self.recorded, float) and isinstance(self.now, float)
        return floats and math.isclose(self.recorded, self.now, rel_tol=CLOSE)


@dataclass(frozen=True)
class Rerun:
    """A cell that was run again.

    Attributes:
        id: The cell's id.
        compared: Number of values that were compared.
        differences: Those that differ; empty if the rows are equal bit for bit.
    """

    id: str
    compared: int
    differences: tuple[Difference, ...]

    @property
    def close(self) -> bool:
        """Whether nothing differs but the last digits of floats."""
        return all(one.slight for one in self.differences)


def select(
    run: Run, cell: str | None, sample: int | None, seed: int, everything: bool, changed: bool = False
) -> list[Row]:
    """The rows to run again: one by its id or a unique part of it, a random sample, or all.

    Of the sample and of all, stale cells are left out unless ``changed`` is given.

    Raises:
        AgentcommError: If the choice is not one of these, or no row or several rows fit.
    """
    if (cell is not None) + (sample is not None) + everything != 1:
        raise ConfigError("name one cell by its id or a part of it, or ask for --sample N, or for --all")
    rows = stored.read(run)
    found = {row["id"]: row for row in rows if row["status"] != "failed"} if changed else stored.current(rows)
    if not rows:
        raise RunError(f"{run.path} has no evaluated cells; evaluate it first: agentcomm evaluate {run.path}")
    if cell is not None:
        return [_named(cell, {row["id"]: row for row in rows} | found)]
    if sample is None:
        return list(found.values())
    if not 1 <= sample <= len(found):
        raise ConfigError(f"sample: must be from 1 to {len(found)}, as many cells are not stale (got {sample})")
    return random.Random(seed).sample(list(found.values()), sample)


def rerun(
    run: Run,
    rows: Sequence[Row],
    watch: Watch = lambda cell, done, total: None,
    evaluator: Evaluator | None = None,
    changed: bool = False,
) -> list[Rerun]:
    """Run recorded cells again; nothing is written.

    Args:
        run: The run.
        rows: Rows from :func:`select`.
        watch: As for :func:`agentcomm.evaluation.grid.evaluate`.
        evaluator: Evaluates the cells; None to do so in this process.
        changed: Whether cells are run although code that they depend on has changed: are their numbers still the same?

    Returns:
        The outcome for each row, in order.

    Raises:
        RunError: If something that one of the cells depends on has changed since.
    """
    evaluator, recorded = evaluator or Evaluator(run), {row["id"]: row for row in rows}
    cells = [cell_of(row) for row in rows]
    if not changed:
        _refuse_stale(run, rows, cells)
    tally = Tally(watch, len(cells))
    again: dict[str, Rerun] = {}
    with one_thread(), closing(evaluator.rows(batches(cells), tally.tell)) as finished:
        for cell, row in finished:
            again[cell.id] = compare(recorded[cell.id], row)
            tally.finish(cell)
    return [again[cell.id] for cell in cells]


def compare(recorded: Row, now: Row) -> Rerun:
    """Compare all recorded values of a cell but those of its making; what was not recorded then is not compared."""
    before, after = (dict(_values("", row)) for row in (recorded, json.loads(json.dumps(now))))
    names = list(before)
    different = [
        Difference(name, before[name], after.get(name, MISSING))
        for name in names
        if not _same(before[name], after.get(name, MISSING))
    ]
    return Rerun(recorded["id"], len(names), tuple(different))


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _values(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """All values inside a row, by path."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            if path or key not in NOT_COMPARED:
                yield from _values(f"{path}.{key}" if path else key, inner)
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _values(f"{path}[{number}]", inner)
    else:
        yield path, value


def _named(part: str, rows: dict[str, Row]) -> Row:
    """The row whose id is ``part``, or has it as a part."""
    if part in rows:
        return rows[part]
    fitting = [name for name in rows if part in name]
    if len(fitting) == 1:
        return rows[fitting[0]]
    if not fitting:
        listed = "\n".join(f"  {name}" for name in list(rows)[:MOST_LISTED])
        more = f"\n  and {len(rows) - MOST_LISTED} more in cells.jsonl" if len(rows) > MOST_LISTED else ""
        raise ConfigError(f"no cell has {part!r} in its id; cells are:\n{listed}{more}")
    listed = "\n".join(f"  {name}" for name in fitting[:MOST_LISTED])
    raise ConfigError(f"{part!r} is a part of {len(fitting)} ids; name one of them whole:\n{listed}")


def _refuse_stale(run: Run, rows: Sequence[Row], cells: Sequence[Cell]) -> None:
    """Refuse cells that would not be the same ones any more.

    Raises:
        RunError: If there are any.
    """
    identities, stale = Identities(run), {}
    for row, cell in zip(rows, cells, strict=True):
        if reason := row.get("stale") or differences(row.get("identity") or {}, identities.of(cell)):
            stale[cell.id] = reason
    if not stale:
        return
    listed = "\n".join(f"  {name}: {reason}" for name, reason in list(stale.items())[:MOST_LISTED])
    made = [(row.get("provenance") or {}).get("commit") for row in rows if row["id"] in stale]
    commits = sorted({commit for commit in made if commit})
    hint = f" (they are of commit {', '.join(commits)})" if commits else ""
    raise RunError(
        f"{len(stale)} of {len(cells)} cells cannot be run again, since they are stale{hint}:\n{listed}\n"
        f"evaluate them again: agentcomm evaluate {run.path}"
    )
