"""A suite: all cells of one team under the same defenses and conditions, for metrics over all attacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Row = Mapping[str, Any]  # a line of cells.jsonl


@dataclass(frozen=True)
class Suite:
    """Evaluated cells of one training seed that differ in their attack only. Cells that failed are not in it.

    Attributes:
        seed: Training seed.
        defenses: Label of the defenses.
        conditions: Label of the conditions; empty for the run's own.
        score: Name of the metric by which teams are compared.
        better: Which direction of it is better for the team.
        clean: The cell without attack.
        undefended: The cell without attack and defenses.
        floor: The cell of the team that was trained again without messages, decoded in the same way.
        attacked: The cells under attack, by the attack's label.
        aimed: Labels of those of them that were evaluated under these defenses only, since they are aimed at them.
        unscored: Labels of attacks whose cell failed or is inconclusive; they count neither as harmless nor as harm.
    """

    seed: int
    defenses: str
    conditions: str
    score: str
    better: Literal["higher", "lower"]
    clean: Row | None
    undefended: Row | None
    floor: Row | None
    attacked: Mapping[str, Row]
    unscored: tuple[str, ...] = ()
    aimed: frozenset[str] = frozenset()

    def value(self, row: Row | None) -> float | None:
        """The score of a cell, turned so that larger values are better; None if it is not known."""
        return None if row is None else self._turned(row.get("metrics", {}))

    @property
    def silent(self) -> float | None:
        """The score of the same team when all its messages are dropped, as :meth:`value`."""
        references = (self.undefended or {}).get("references") or {}
        return self._turned(references.get("silent") or {})

    def _turned(self, metrics: Mapping[str, Any]) -> float | None:
        value = metrics.get(self.score)
        return None if value is None else float(value) * (1 if self.better == "higher" else -1)
