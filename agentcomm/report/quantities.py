"""Quantities by which runs are compared, and how they are read from the cells of a run, by seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from agentcomm.report.load import number
from agentcomm.report.results import NONE, Results
from agentcomm.statistics import REAL, SHARE, Estimate, Scale

Scores = Mapping[int, float]
Read = Callable[[Results, str | None, str], Scores]  # of a run, an attack and a defense
SIGNED_SHARE = Scale(-1.0, 1.0)


@dataclass(frozen=True)
class Quantity:
    """What is compared.

    Attributes:
        key: Its name in rows.
        label: Its name in tables.
        kind: ``score`` if it is in units of the environment's score, otherwise ``share``.
        scale: Its range.
        digits: Decimals to print.
        unit: Its unit; empty for shares.
        attacked: Whether it is one of attacks.
    """

    key: str
    label: str
    kind: Literal["score", "share"]
    scale: Scale
    digits: int = 2
    unit: str = ""
    attacked: bool = False


def quantities(runs: Sequence[Results], retained: bool) -> list[tuple[Quantity, Read]]:
    """What is compared, and how it is read from a run.

    Args:
        runs: The runs.
        retained: Whether retained fractions are among it.
    """
    measure = runs[0].primary
    mixed = any(run.primary.key != measure.key for run in runs)
    unit, digits = ("" if mixed else measure.unit), (2 if mixed else max(measure.digits, 2))
    own = getattr(measure, "scale", REAL)
    fraction: list[tuple[Quantity, Read]] = [
        (Quantity("retained", "retained fraction", "share", REAL, attacked=True), _retained)
    ]
    return [
        (Quantity("score", "score", "score", REAL if mixed else own, digits, unit), _score),
        (Quantity("success", "success", "share", SHARE), lambda run, a, d: run.scores(a, d, "success")),
        (Quantity("worth", "gain over no messages", "score", REAL, digits, unit), _worth),
        (Quantity("damage", "damage", "score", REAL, digits, unit, attacked=True), _damage),
        *(fraction if retained else []),
        (Quantity("attack_success", "attack success", "share", SIGNED_SHARE, attacked=True), _success),
    ]


def retained_estimate(results: Results, attack: str | None, defense: str) -> Estimate:
    """The retained fraction over all seeds."""
    return results.retained(results.scores(attack, defense))


def _score(results: Results, attack: str | None, defense: str) -> Scores:
    return results.scores(attack, defense)


def _worth(results: Results, attack: str | None, defense: str) -> Scores:
    """Gain of the team over the one retrained without messages, positive = better."""
    if defense != NONE:
        return {}
    return _better(results, results.scores(None), results.scores(None, variant="control"))


def _damage(results: Results, attack: str | None, defense: str) -> Scores:
    """What an attack costs against the same defenses without it, positive = worse for the team."""
    told = _effects(results, attack, defense, "damage")
    return told or _better(results, results.scores(None, defense), results.scores(attack, defense))


def _success(results: Results, attack: str | None, defense: str) -> Scores:
    """Success of an attack beyond that of its matched control."""
    return _effects(results, attack, defense, "success")


def _effects(results: Results, attack: str | None, defense: str, key: str) -> dict[int, float]:
    """An entry of ``effect`` by seed, NaN where the cell failed; empty if no cell has it."""
    found = {
        row["seed"]: number((row.get("effect") or {}).get(key)) if row.get("status") == "ok" else math.nan
        for row in results.rows(attack, defense)
    }
    return found if any(map(math.isfinite, found.values())) else {}


def _better(results: Results, ours: Scores, theirs: Scores) -> dict[int, float]:
    """By how much ours is better, in each seed of both."""
    sign = -1.0 if results.primary.better == "lower" else 1.0
    return {seed: sign * (ours[seed] - theirs[seed]) for seed in ours if seed in theirs}


def _retained(results: Results, attack: str | None, defense: str) -> Scores:
    """The retained fraction by seed, linearized: ratio + (part - ratio gain) / mean gain (delta method).

    Their mean is the ratio of means, and their spread that of the ratio; a ratio per seed would be dominated by seeds
    with a small gain.
    """
    ratio = retained_estimate(results, attack, defense)
    if not ratio.known:
        return {}
    attacked, clean = results.scores(attack, defense), results.scores(None)
    floor = results.scores(None, variant="control")
    seeds = [s for s in attacked if all(math.isfinite(side.get(s, math.nan)) for side in (attacked, clean, floor))]
    part = np.array([attacked[s] - floor[s] for s in seeds])
    gain = np.array([clean[s] - floor[s] for s in seeds])
    values = ratio.value + (part - ratio.value * gain) / gain.mean()
    return dict.fromkeys(attacked, math.nan) | dict(zip(seeds, values.tolist(), strict=True))
