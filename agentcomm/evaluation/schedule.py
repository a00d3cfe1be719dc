"""The order in which cells are evaluated: batches that share their clean episodes, and how far all of them are."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.setup import without_control

Batch = Sequence[Cell]
Finished = Generator[tuple[Cell, dict[str, Any]], None, None]  # cells and their rows
Watch = Callable[[Cell, float, int], None]
Tell = Callable[[Cell, float], None]


def batches(cells: Sequence[Cell]) -> list[Batch]:
    """Cells that go to one process together: those of a team with the same defenses and conditions.

    They share the episodes without attack, and cells with random gates those from which they take the frequency.
    """
    found: dict[Any, list[Cell]] = {}
    for cell in cells:
        under = (without_control(cell) if cell.conditions.gates == "random" else cell).conditions
        found.setdefault((cell.variant, cell.seed, cell.defense_label, under.model_dump_json()), []).append(cell)
    return list(found.values())


class Tally:
    """Counts finished cells, and the finished shares of those under way.

    Args:
        watch: Called with a cell, the number of finished cells, with fractions, and the total.
        total: Number of cells.
    """

    def __init__(self, watch: Watch, total: int) -> None:
        self._watch, self._done, self._total = watch, 0, total
        self._shares: dict[str, float] = {}

    def tell(self, cell: Cell, share: float) -> None:
        """A cell is begun (share 0), or a share of it is finished."""
        self._shares[cell.id] = share
        self._watch(cell, self._done + sum(self._shares.values()), self._total)

    def finish(self, cell: Cell) -> None:
        """A cell is finished."""
        self._shares.pop(cell.id, None)
        self._done += 1
