"""Damage against budget: attacks that differ in one number only, such as their budget, probability or strength."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from agentcomm.base.errors import AgentcommError
from agentcomm.base.registry import find
from agentcomm.report.charts import Chart, Line, chart
from agentcomm.report.effects import Part, effect
from agentcomm.report.results import NONE, Results
from agentcomm.statistics import REAL

SERIES = 6  # lines in one chart
MEMBERS = 3  # attacks that make a curve


def curves(results: Results) -> list[Chart]:
    """Charts of damage against each number in which at least three forms of an attack differ."""
    charts = []
    for name, key, rest, forms in _families(results):
        title = f"Damage of {name} in {results.primary.unit}" + (f" ({rest})" if rest else "")
        lines = _lines(results, forms)
        drawn = chart(title, key.replace("_", " ").replace(".", " "), lines)
        if drawn is not None:
            charts.append(drawn)
    return [*charts, *assumption_curves(results)]


def assumption_curves(results: Results) -> list[Chart]:
    """Charts of damage against the obedience of the victims, from cells that differ in nothing else."""
    own = _obedience(results.rows(None, NONE))
    by_attack: dict[str, dict[float, dict[int, float]]] = {}
    clean: dict[float, dict[int, float]] = {}
    for row in results.changed:
        conditions = row.get("conditions") or {}
        level, only = conditions.get("obedience"), str(row.get("conditions_label") or "").startswith("obedience ")
        if not isinstance(level, int | float) or not only or "," in str(row["conditions_label"]):
            continue
        if row.get("defense_label", NONE) != NONE or row["variant"] != "team" or row.get("status") != "ok":
            continue
        score = (row.get("metrics") or {}).get(results.primary.key)
        if isinstance(score, int | float):
            to = clean if row.get("attack") is None else by_attack.setdefault(str(row["attack"]["label"]), {})
            to.setdefault(float(level), {})[row["seed"]] = float(score)
    charts = []
    for attack, levels in by_attack.items():
        points = {level: results.gains(clean.get(level, {}), by_seed) for level, by_seed in levels.items()}
        if own is not None and attack in results.attacks:
            points[own] = effect(results, attack)["damage"].by_seed
        lines = [_line("no defense", "attacked", {x: Part(v, REAL) for x, v in points.items()})]
        drawn = chart(f"Damage of {attack} in {results.primary.unit}", "obedience of the victims", lines)
        if drawn is not None and len(points) >= MEMBERS:
            charts.append(drawn)
    return charts


def _obedience(rows: list[dict[str, Any]]) -> float | None:
    found = [(row.get("conditions") or {}).get("obedience") for row in rows]
    return next((float(x) for x in found if isinstance(x, int | float)), None)


def _families(results: Results) -> Iterator[tuple[str, str, str, dict[float, str]]]:
    """Name, varied number, other arguments, and label by value, of attacks that differ in that number only."""
    flat = {}
    for label in results.attacks:
        record = results.records[label]
        flat[label] = (str(record.get("name") or label), dict(_leaves(record.get("arguments") or {})))
    for name in dict.fromkeys(name for name, _ in flat.values()):
        own = {label: leaves for label, (of, leaves) in flat.items() if of == name}
        keys = dict.fromkeys(key for leaves in own.values() for key, value in leaves.items() if _is_number(value))
        for key in keys:
            groups: dict[str, dict[float, str]] = {}
            for label, leaves in own.items():
                value = leaves[key] if key in leaves else _default(name, key)
                rest = {k: v for k, v in leaves.items() if k != key}
                if _is_number(value):
                    groups.setdefault(json.dumps(rest, sort_keys=True, default=str), {})[float(value)] = label
            for others, forms in groups.items():
                if len(forms) >= MEMBERS:
                    words = ", ".join(f"{k} {v}" for k, v in json.loads(others).items())
                    yield name, key, words, dict(sorted(forms.items()))


def _lines(results: Results, forms: Mapping[float, str]) -> list[Line]:
    """A line per defense, one for several that make no difference, and one for the control of the undefended attack."""
    found: dict[tuple[float, ...], list[str]] = {}
    parts: dict[str, dict[float, Part]] = {}
    for defense in results.defenses:
        parts[defense] = {x: effect(results, label, defense)["damage"] for x, label in forms.items()}
        ys = tuple(round(part.value, 4) for part in parts[defense].values())
        found.setdefault(ys, []).append(defense)
    lines = _seeds(parts[NONE], "s0")
    for number, alike in enumerate(list(found.values())[:SERIES]):
        label = ", ".join("no defense" if defense == NONE else defense for defense in alike)
        lines.append(_line(label, f"s{number}", parts[alike[0]]))
    control = {x: effect(results, label)["control_damage"] for x, label in forms.items()}
    return [*lines, _line("control", "control", control)]


def _line(label: str, style: str, parts: Mapping[float, Part]) -> Line:
    xs = sorted(parts)
    return Line(label, style, xs, [parts[x].value for x in xs])


def _seeds(parts: Mapping[float, Part], style: str) -> list[Line]:
    """A faint line per seed."""
    xs = sorted(parts)
    seeds = sorted({seed for part in parts.values() for seed in part.by_seed})
    return [Line("", style, xs, [parts[x].by_seed.get(s, math.nan) for x in xs], faint=True) for s in seeds]


def _leaves(arguments: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in arguments.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _default(name: str, key: str) -> Any:
    """The value of an argument that a form leaves out; None if the plug-in is not installed."""
    try:
        fields: Any = find("attack", name).Config.model_fields
    except AgentcommError:
        return None
    return fields[key].default if key in fields else None
