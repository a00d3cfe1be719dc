"""What an attack does, beside what its matched control does: damage, silence and lie, success, and what both spend."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from agentcomm.report.load import number
from agentcomm.report.results import NONE, How, Results, Scores, spread
from agentcomm.statistics import SHARE, Estimate, Scale

IN_SCORE = ("damage", "control_damage", "silence", "lie")
SHARES = ("rate", "control_rate", "clean_rate", "worse", "better")
SPENT = ("edits", "messages", "bytes", "norm")


class Part:
    """One number of an effect in each seed.

    Args:
        by_seed: Its values.
        scale: The values that it can take.
    """

    def __init__(self, by_seed: Scores, scale: Scale) -> None:
        self.by_seed = by_seed
        self._scale = scale

    @cached_property
    def estimate(self) -> Estimate:
        """Its mean over seeds, with the interval."""
        return spread(self.by_seed, self._scale)

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return any(map(math.isfinite, self.by_seed.values()))

    @property
    def value(self) -> float:
        """Its mean over seeds; NaN without a value."""
        values = [value for value in self.by_seed.values() if math.isfinite(value)]
        return sum(values) / len(values) if values else math.nan


@dataclass(frozen=True)
class Effect:
    """The effect of one attack under one set of defenses; positive values are worse for the team.

    Attributes:
        parts: By the names in ``IN_SCORE`` and ``SHARES``, and ``success``.
        predicate: When an episode counts as won by the attacker.
        outcomes: Number of cells by outcome.
        spent: What the attack spent, summed over seeds; the norm as a mean.
        control_spent: The same for its control.
        reasons: Why cells are inconclusive.
    """

    parts: dict[str, Part]
    predicate: str
    outcomes: Counter[str]
    spent: dict[str, float]
    control_spent: dict[str, float]
    reasons: tuple[str, ...]

    def __getitem__(self, name: str) -> Part:
        """One of its numbers."""
        return self.parts[name]


_KNOWN: WeakKeyDictionary[Results, dict[tuple[str, str], Effect]] = WeakKeyDictionary()


def effect(results: Results, attack: str, defense: str = NONE) -> Effect:
    """The effect of one attack under one set of defenses.

    Rows without a recorded effect have only their damage: the difference from the same defenses without the attack.
    """
    known = _KNOWN.setdefault(results, {})
    if (attack, defense) not in known:
        known[attack, defense] = _effect(results, attack, defense)
    return known[attack, defense]


def undefended(results: Results) -> list[str]:
    """Attacks with a known damage without defenses, largest damage first."""
    damage = {attack: effect(results, attack)["damage"].value for attack in results.attacks}
    return sorted((a for a in damage if math.isfinite(damage[a])), key=lambda a: -damage[a])


def damage_over_attacks(results: Results, defense: str, how: How) -> Scores:
    """By seed, the worst or the mean damage of the attacks that assume nothing of their victims."""
    columns = [effect(results, attack, defense)["damage"].by_seed for attack in results.shown]
    out = {}
    for seed in results.seeds:
        values = [v for v in (column.get(seed, math.nan) for column in columns) if math.isfinite(v)]
        if values:
            out[seed] = max(values) if how == "worst" else sum(values) / len(values)
    return out


def averted(results: Results, defense: str, how: How) -> Scores:
    """By seed, how much less damage the attacks do with a defense: in the worst case over them, or on average.

    Only attacks count that have a damage with and without the defense in that seed, and that assume nothing of their
    victims.
    """
    pairs = [
        (effect(results, a)["damage"].by_seed, effect(results, a, defense)["damage"].by_seed) for a in results.shown
    ]
    out = {}
    for seed in results.seeds:
        both = [(alone.get(seed, math.nan), kept.get(seed, math.nan)) for alone, kept in pairs]
        both = [pair for pair in both if all(map(math.isfinite, pair))]
        if both:
            alone, kept = zip(*both, strict=True)
            out[seed] = max(alone) - max(kept) if how == "worst" else (sum(alone) - sum(kept)) / len(both)
    return out


def _effect(results: Results, attack: str, defense: str) -> Effect:
    rows = results.rows(attack, defense)
    steps = results.primary.scale.of_differences
    parts = {name: _part(rows, name, steps) for name in IN_SCORE} | {name: _part(rows, name, SHARE) for name in SHARES}
    parts["success"] = _part(rows, "success", SHARE.of_differences)
    if not parts["damage"].known:
        damage = results.gains(results.scores(None, defense), results.scores(attack, defense))
        parts["damage"] = Part(damage, steps)
    return Effect(
        parts=parts,
        predicate=next((str(row["effect"]["predicate"]) for row in rows if _of(row).get("predicate")), ""),
        outcomes=Counter(str(row.get("outcome") or row.get("status")) for row in rows),
        spent=_spent([row.get("spent") or {} for row in rows]),
        control_spent=_spent(
            [((row.get("counterparts") or {}).get("control") or {}).get("spent") or {} for row in rows]
        ),
        reasons=tuple(dict.fromkeys(str(row["reason"]) for row in rows if row.get("reason"))),
    )


def _of(row: dict[str, Any]) -> dict[str, Any]:
    found = row.get("effect")
    return found if isinstance(found, dict) else {}


def _part(rows: Sequence[dict[str, Any]], name: str, scale: Scale) -> Part:
    """One number of the effect; NaN where the cell failed, was inconclusive, or has none."""
    by_seed = {row["seed"]: number(_of(row).get(name)) if row.get("status") == "ok" else math.nan for row in rows}
    return Part(by_seed, scale)


def _spent(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    out = {}
    for name in SPENT:
        values = [x for x in (number(record.get(name)) for record in records) if math.isfinite(x)]
        if values:
            out[name] = sum(values) / (len(values) if name == "norm" else 1)
    return out
