"""Tables of costs without attacks, and of cells under other conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentcomm.report.load import Curve, number
from agentcomm.report.measures import SUCCESS
from agentcomm.report.results import NONE, Results, Scores, spread
from agentcomm.report.text import DASH, between, fixed, percent, signed
from agentcomm.runs.conditions import PLAIN_CONDITIONS
from agentcomm.statistics import POSITIVE


def costs(results: Results) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the cost table, without empty columns."""
    clean_bytes = results.estimate(results.scores(None, key="bytes_per_step"), "bytes_per_step").value
    header = ["", f"{results.primary.label} when clean", "Tax", "Messages per step", "Bytes per step", "Gates open"]
    header += ["Latency, ms", "Evaluation, s per cell"]
    rows = []
    for variant, defense, name in [
        ("control", NONE, "retrained without messages"),
        *(("team", d, "no defense" if d == NONE else d) for d in results.defenses),
    ]:
        found = [row for row in results.rows(None, defense, variant) if row.get("status") == "ok"]
        if found:
            rows.append(_cost(results, variant, defense, name, found, clean_bytes))
    kept = [0, *(i for i in range(1, len(header)) if any(row[i] not in ("", DASH) for row in rows))]
    return [header[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _cost(
    results: Results, variant: str, defense: str, name: str, found: list[dict[str, Any]], clean_bytes: float
) -> list[str]:
    def mean(key: str) -> float:
        return results.estimate(results.scores(None, defense, key, variant), key).value

    digits, defended, tax = results.primary.digits, variant == "team" and defense != NONE, ""
    if defended:
        by_seed = results.gains(results.clean, results.scores(None, defense))
        loss = spread(by_seed)
        tax = signed(loss.value, 2) + between(loss, 2) if loss.known else DASH
    size = mean("bytes_per_step")
    more = size / clean_bytes - 1 if clean_bytes and math.isfinite(clean_bytes) else math.nan
    seconds = [s for s in (number(row.get("seconds")) for row in found) if math.isfinite(s)]
    scores = results.scores(None, defense, variant=variant)
    score = results.estimate(scores)
    return [
        name,
        fixed(score.value, digits) + between(score, digits, scores),
        tax,
        fixed(mean("messages_per_step"), 2),
        fixed(size, 0) + (f" ({signed(100 * more, 0)}%)" if defended and math.isfinite(more) else ""),
        percent(mean("gate_open")) if variant == "team" else "",
        fixed(mean("latency_ms"), 2),
        fixed(sum(seconds) / len(seconds), 2) if seconds else DASH,
    ]


@dataclass(frozen=True)
class Group:
    """Cells that differ from the main grid in the same kind of condition.

    Attributes:
        title: The kind, such as ``Environment``.
        rows: Condition, attack, defense, and the entries of the table.
    """

    title: str
    rows: list[tuple[str, str, str, list[str]]]


KINDS = {
    "environment": "Environment",
    "gates": "Gates",
    "transport": "Transport",
    "decisions": "Decisions",
    "obedience": "Obedience",
    "device": "Device",
}
PLAIN = PLAIN_CONDITIONS.model_dump(mode="json")
HEADER = ("with messages", "success", "retrained without", "success", "messages per step")


def conditions(results: Results) -> list[Group]:
    """Cells under other conditions, by the kind of condition; the team and its control side by side."""
    own = next((row["conditions"] for row in results.rows(None, NONE) if row.get("conditions")), PLAIN)
    cells: dict[tuple[str, str, str, str], dict[str, list[dict[str, Any]]]] = {}
    if results.changed:
        both = {variant: results.rows(None, NONE, variant) for variant in ("team", "control")}
        cells["The run's own", "as in the grid above", "", NONE] = both
    for row in results.changed:
        attack = row.get("attack")
        place = (
            _kinds(row.get("conditions") or {}, own),
            str(row.get("conditions_label")),
            "" if attack is None else str(attack["label"]),
            str(row.get("defense_label") or NONE),
        )
        cells.setdefault(place, {}).setdefault(row["variant"], []).append(row)
    groups: dict[str, Group] = {}
    for (kind, label, attack, defense), by_variant in cells.items():
        entries = [e for variant in ("team", "control") for e in _scores(results, by_variant.get(variant, []))]
        entries.append(_mean(results, by_variant.get("team", []), "messages_per_step", 2))
        shown = "" if defense == NONE else defense
        groups.setdefault(kind, Group(kind, [])).rows.append((label, attack, shown, entries))
    return list(groups.values())


def _kinds(conditions: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """The kinds of conditions that differ from the run's own."""
    found = [title for key, title in KINDS.items() if conditions.get(key) != own.get(key)]
    return " and ".join(found) or "Other"


def _scores(results: Results, rows: list[dict[str, Any]]) -> list[str]:
    measure = results.primary
    return [_mean(results, rows, measure.key, measure.digits), _mean(results, rows, SUCCESS.key, SUCCESS.digits)]


def _mean(results: Results, rows: list[dict[str, Any]], key: str, digits: int) -> str:
    by_seed: Scores = {
        row["seed"]: number((row.get("metrics") or {}).get(key)) for row in rows if row.get("status") == "ok"
    }
    found = results.estimate(by_seed, key)
    return fixed(found.value, digits) + between(found, digits)


def training(curves: list[Curve]) -> str:
    """Training time as a sentence; empty if it was not recorded."""
    seconds = [number(curve.rows[-1].get("seconds")) for curve in curves]
    steps = [number(curve.rows[-1].get("env_steps")) for curve in curves]
    known = [(s, n) for s, n in zip(seconds, steps, strict=True) if math.isfinite(s) and math.isfinite(n)]
    if not known:
        return ""
    mean_seconds, mean_steps = (spread(dict(enumerate(x)), POSITIVE).value for x in zip(*known, strict=True))
    rate = f", {mean_steps / mean_seconds:,.0f} environment steps per second" if mean_seconds > 0 else ""
    return f"Training took {mean_seconds:,.0f} s per team on average ({mean_steps:,.0f} environment steps{rate})."
