"""The metrics by which cells are scored: names, units, directions, and the values that they can take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from agentcomm.statistics import POSITIVE, REAL, SHARE, Scale

SHARES = ("success", "gate_open")


@dataclass(frozen=True)
class Measure:
    """A metric by which cells are scored.

    Attributes:
        key: Name of the metric.
        label: Name in the report.
        unit: Unit behind the number.
        better: Which direction is better.
        digits: Decimals to print.
        scale: The values that it can take, which no interval exceeds.
    """

    key: str
    label: str
    unit: str
    better: Literal["lower", "higher"]
    digits: int
    scale: Scale = REAL

    @property
    def verb(self) -> str:
        """What a team does with its score: it needs few steps, or reaches a high return."""
        return "needs" if self.better == "lower" else "reaches"

    def worst(self, scores: Sequence[float]) -> float:
        """The worst of some scores; NaN if any is unknown."""
        if not scores or any(math.isnan(s) for s in scores):
            return math.nan
        return max(scores) if self.better == "lower" else min(scores)


STEPS = Measure("mean_steps", "Steps", "steps", "lower", 1, POSITIVE)
SUCCESS = Measure("success", "Success of the team", "success", "higher", 2, SHARE)
RETURN = Measure("mean_return", "Return", "return", "higher", 2)
KNOWN = {measure.key: measure for measure in (STEPS, SUCCESS, RETURN)}


def declared(cells: Sequence[dict[str, Any]]) -> Measure:
    """The score that the environment declares; the return where no cell names one."""
    for row in cells:
        score = row.get("score")
        if isinstance(score, dict):
            key, unit = str(score.get("metric")), str(score.get("unit") or score.get("metric"))
            if key == STEPS.key:
                return replace(STEPS, scale=Scale(0.0, _longest(cells)))
            better: Literal["lower", "higher"] = "lower" if score.get("better") == "lower" else "higher"
            return KNOWN.get(key) or Measure(key, key.replace("_", " ").capitalize(), unit, better, 2)
    return RETURN


def scale_of(key: str) -> Scale:
    """The values that a metric can take, by its name."""
    if key in SHARES:
        return SHARE
    return POSITIVE if key.endswith(("_per_step", "_ms", "_steps")) else REAL


def _longest(cells: Sequence[dict[str, Any]]) -> float:
    """Steps after which the environment ends an episode; infinity if no cell says."""
    return float(max((len(row.get("gate_by_step") or []) for row in cells), default=0)) or math.inf
