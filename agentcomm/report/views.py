"""The page's tables and the scale, as plain values for the template."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentcomm.evaluation.statistics import Estimate
from agentcomm.report.load import number
from agentcomm.report.results import AVERAGE, NONE, SUCCESS, WORST, CellSummary, Results
from agentcomm.report.text import fixed, percent, signed, span
from agentcomm.report.verdicts import below_floor, best_defense, harmful, helpful, undefended, worthless


@dataclass(frozen=True)
class Face:
    """One of the numbers that a heatmap cell can show.

    Attributes:
        measure: Key of the measure.
        number: The number as text.
        interval: Its interval as text; empty without one.
        level: 0 = the floor or worse, 1 = clean; None if undefined.
        note: Additional text, such as "below the floor".
    """

    measure: str
    number: str
    interval: str
    level: float | None
    note: str = ""


@dataclass(frozen=True)
class HeatCell:
    """A heatmap cell with its tooltip.

    Attributes:
        status: ok, failed, inconclusive or missing.
        faces: Its number for each measure.
        title: First line of its tooltip.
        facts: Pairs of a name and a value.
        errors: Error messages of failed seeds.
        partial: ``2 of 3 seeds`` if some failed, otherwise empty.
    """

    status: str
    faces: list[Face]
    title: str
    facts: list[tuple[str, str]]
    errors: tuple[str, ...]
    partial: str


@dataclass(frozen=True)
class HeatRow:
    """The cells of one attack; ``summary`` rows aggregate all attacks."""

    label: str
    cells: list[HeatCell]
    summary: bool = False
    clean: bool = False


@dataclass(frozen=True)
class Mark:
    """A dot on the scale at ``at`` percent, with a whisker from ``low`` to ``high`` percent."""

    at: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class ScaleRow:
    """An attack on the scale: undefended, and under its best defense if one measurably helps."""

    label: str
    attacked: Mark
    defended: Mark | None
    defense: str


@dataclass(frozen=True)
class Scale:
    """The scale from the best to the worst score of the run, with marks for clean and floor."""

    label: str
    rows: list[ScaleRow]
    clean: Mark
    floor: Mark | None


def measures(results: Results) -> list[tuple[str, str]]:
    """Keys and names of the measures of the heatmap; the retained fraction only if it is defined."""
    voc = results.value_of_communication()
    scored = [(results.primary.key, results.primary.label), (SUCCESS.key, SUCCESS.label)]
    return [*scored, ("retained", "Retained fraction")] if voc.known and not worthless(results, voc) else scored


def heatmap(results: Results) -> list[HeatRow]:
    """The rows of the heatmap: no attack, each attack, and their worst and mean, seed by seed."""
    flat = worthless(results, results.value_of_communication())
    rows = [
        HeatRow("no attack", [_heat_cell(results, results.cell(None, d), flat) for d in results.defenses], clean=True)
    ]
    rows += [
        HeatRow(a, [_heat_cell(results, results.cell(a, d), flat) for d in results.defenses]) for a in results.attacks
    ]
    if len(results.attacks) > 1:
        for name, how in ((WORST, "worst"), (AVERAGE, "mean")):
            cells = [results.summary(d, "worst" if how == "worst" else "mean") for d in results.defenses]
            rows.append(HeatRow(name, [_heat_cell(results, cell, flat) for cell in cells], summary=True))
    return rows


def scale(results: Results) -> Scale | None:
    """All attacks on one axis; None without a clean score or an attack."""
    clean, floor = results.estimate(results.clean), results.estimate(results.floor)
    order = undefended(results)
    if not clean.known or not order:
        return None
    entries: list[tuple[str, Estimate, str, Estimate | None]] = []
    for attack in order:
        best = best_defense(results, attack) if harmful(results, attack) else None
        helps = best is not None and helpful(results, attack, best[0])
        score = results.estimate(results.scores(attack))
        entries.append((attack, score, best[0] if best else "", best[1] if best and helps else None))
    every = [clean, floor, *(e[1] for e in entries), *(e[3] for e in entries if e[3])]
    ends = [x for e in every if e.known for x in (e.value, *(e.interval or ()))]
    pad = 0.06 * (max(ends) - min(ends)) or 1.0
    low, high = min(ends) - pad, max(ends) + pad
    if results.primary.better == "higher":
        low, high = high, low  # better scores are on the left

    def mark(e: Estimate) -> Mark:
        at, *ends = (round(100 * (x - low) / (high - low), 2) for x in (e.value, *(e.interval or (e.value, e.value))))
        return Mark(at, min(ends), max(ends), fixed(e.value, results.primary.digits))

    rows = [ScaleRow(a, mark(hit), mark(kept) if kept else None, name) for a, hit, name, kept in entries]
    label = f"{results.primary.unit} {'(fewer is better)' if results.primary.better == 'lower' else '(more is better)'}"
    return Scale(label, rows, mark(clean), mark(floor) if floor.known else None)


def costs(results: Results) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the cost table, without empty columns."""
    clean_bytes = results.estimate(results.scores(None, key="bytes_per_step")).value
    header = ["", f"{results.primary.label} when clean", "Tax", "Messages per step", "Bytes per step", "Gates open"]
    header += ["Latency, ms", "Evaluation, s per cell"]
    rows = []
    for variant, defense, name in [
        ("control", NONE, "retrained without messages"),
        *(("team", d, "no defense" if d == NONE else d) for d in results.defenses),
    ]:
        found = [row for row in results.rows(None, defense, variant) if row.get("status") == "ok"]
        if not found:
            continue

        def mean(key: str, variant: str = variant, defense: str = defense) -> float:
            return results.estimate(results.scores(None, defense, key, variant)).value

        tax = ""
        if variant == "team" and defense != NONE:
            worse = results.gain(results.clean, results.scores(None, defense))
            between = span(worse, 2)
            tax = (signed(worse.value, 2) + (f" ({between})" if between else "")) if worse.known else "\N{EM DASH}"
        size = mean("bytes_per_step")
        more = size / clean_bytes - 1 if clean_bytes and math.isfinite(clean_bytes) else math.nan
        extra = f" ({signed(100 * more, 0)}%)" if variant == "team" and defense != NONE and math.isfinite(more) else ""
        seconds = [s for s in (number(row.get("seconds")) for row in found) if math.isfinite(s)]
        score = results.estimate(results.scores(None, defense, variant=variant))
        between = span(score, results.primary.digits)
        rows.append(
            [
                name,
                fixed(score.value, results.primary.digits) + (f" ({between})" if between else ""),
                tax,
                fixed(mean("messages_per_step"), 2),
                fixed(size, 0) + extra,
                percent(mean("gate_open")) if variant == "team" else "",
                fixed(mean("latency_ms"), 2),
                fixed(sum(seconds) / len(seconds), 2) if seconds else "\N{EM DASH}",
            ]
        )
    kept = [0, *(i for i in range(1, len(header)) if any(row[i] not in ("", "\N{EM DASH}") for row in rows))]
    return [header[i] for i in kept], [[row[i] for i in kept] for row in rows]


def changes(results: Results) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of cells under other conditions; empty without such cells."""
    if not results.changed:
        return [], []
    named = {"the run's own conditions": results.rows(None, NONE), **results.changed}
    out = []
    for name, rows in named.items():
        good = [row["metrics"] for row in rows if row.get("status") == "ok"]

        def show(key: str, digits: int, good: list[dict[str, Any]] = good) -> str:
            score = results.estimate({n: number(metrics.get(key)) for n, metrics in enumerate(good)})
            between = span(score, digits)
            return fixed(score.value, digits) + (f" ({between})" if between else "")

        measure = results.primary
        out.append([name, show(measure.key, measure.digits), show(SUCCESS.key, 2), show("messages_per_step", 2)])
    return ["", results.primary.label, SUCCESS.label, "Messages per step"], out


def _share(results: Results, attack: str, key: str) -> str:
    """A share of episodes of the undefended attack, with its interval over seeds."""
    share = results.estimate(results.scores(attack, NONE, key))
    between = span(share, 2)
    return fixed(share.value, 2) + (f" ({between})" if between else "")


def threats(results: Results) -> list[tuple[str, list[str]]]:
    """Position, powers, knowledge, budget, success, control's success and version of each attack, as text."""
    out = []
    for label in results.attacks:
        record = results.records[label]
        threat = record.get("threat")
        threat = threat if isinstance(threat, dict) else {}
        powers = threat.get("powers")
        budget = threat.get("budget")
        limits = {k: v for k, v in budget.items() if v not in (None, 0)} if isinstance(budget, dict) else {}
        out.append(
            (
                label,
                [
                    _plain(threat.get("position")),
                    ", ".join(sorted(map(str, powers))) if isinstance(powers, list) else "\N{EM DASH}",
                    _plain(threat.get("knowledge")),
                    ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in limits.items()) or "unlimited",
                    *(_share(results, label, key) for key in ("attack_success", "control_success")),
                    str(record.get("version") or "\N{EM DASH}"),
                ],
            )
        )
    return out


def _heat_cell(results: Results, cell: CellSummary, flat: bool) -> HeatCell:
    faces = []
    below = "below the floor" if not flat and below_floor(results, cell.by_seed) else ""
    retained = Estimate(math.nan, None, 0) if flat else cell.retained
    for key, _ in measures(results):
        if key == "retained":
            level = _clip(retained.value)
            faces.append(Face(key, percent(retained.value), span(retained, 0, 100.0, "%"), level, below))
            continue
        score = cell.scores[key]
        digits = results.primary.digits if key == results.primary.key else SUCCESS.digits
        level = _clip(score.value) if key == SUCCESS.key else None if flat else _level(results, score.value, retained)
        note = "" if key == SUCCESS.key else below
        faces.append(Face(key, fixed(score.value, digits), span(score, digits), level, note))
    total, good = len(cell.by_seed), sum(math.isfinite(v) for v in cell.by_seed.values())
    attack = cell.attack or "no attack"
    return HeatCell(
        status=cell.status,
        faces=faces,
        title=f"{attack} \N{MULTIPLICATION SIGN} {'no defense' if cell.defense == NONE else cell.defense}",
        facts=_facts(results, cell, retained),
        errors=cell.errors,
        partial=f"{good} of {total} seeds" if 0 < good < total else "",
    )


def _facts(results: Results, cell: CellSummary, retained: Estimate) -> list[tuple[str, str]]:
    if cell.status == "missing":
        return [("status", "not evaluated")]
    digits = results.primary.digits
    values = ", ".join(fixed(v, digits) if math.isfinite(v) else "unscored" for v in cell.by_seed.values())
    facts = [("seeds", str(len(cell.by_seed))), (f"{results.primary.label.lower()} by seed", values)]
    if retained.known:
        between = span(retained, 0, 100.0, "%")
        facts.append(("retained", percent(retained.value) + (f" ({between})" if between else "")))
    if cell.attack in results.attacks and cell.defense != NONE:
        back = results.recovered(str(cell.attack), cell.defense)
        if back.known:
            facts.append(("recovered damage", percent(back.value)))
    if cell.episodes:
        facts.append(("episodes", f"{cell.episodes:,}"))
    sent = cell.ledger.get("sent", 0)
    for name, count in cell.ledger.items():
        # zero accepted messages are shown only if there were forged or tampered ones
        cause = cell.ledger.get(name.removeprefix("accepted_"), 0) if name.startswith("accepted_") else count
        if name == "bytes" or (name != "sent" and not cause):
            continue
        share = f" ({percent(count / sent)} of sent)" if sent and name != "sent" else ""
        facts.append((name.replace("_", " ").replace("refused by.", "refused by "), f"{count:,}{share}"))
    return facts


def _level(results: Results, score: float, retained: Estimate) -> float | None:
    """Position of a score between floor and clean, or between the run's worst and best without a floor."""
    if retained.known:
        return _clip(retained.value)
    values = [
        v
        for a in (None, *results.attacks)
        for d in results.defenses
        for v in results.scores(a, d).values()
        if math.isfinite(v)
    ]
    if not values or not math.isfinite(score) or max(values) - min(values) < 1e-9:
        return None
    share = (score - min(values)) / (max(values) - min(values))
    return _clip(1 - share if results.primary.better == "lower" else share)


def _clip(value: float) -> float | None:
    return round(min(1.0, max(0.0, value)), 3) if math.isfinite(value) else None


def _plain(value: Any) -> str:
    """A position or knowledge entry as text; nested ones as ``kind (key value)``."""
    if isinstance(value, Mapping):
        rest = {k: v for k, v in value.items() if k != "kind" and v is not None}
        inner = ", ".join(f"{k} {v}" for k, v in rest.items())
        return f"{value.get('kind', '')} ({inner})" if inner else str(value.get("kind", ""))
    return "\N{EM DASH}" if value in (None, "") else str(value)
