"""What the attacks do: sentences, the damage of each on one axis, and a table with success, budget and threat model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from agentcomm.report.claims import Claims
from agentcomm.report.effects import Effect, effect, undefended
from agentcomm.report.phrases import brief, briefly, part
from agentcomm.report.results import Results
from agentcomm.report.text import DASH, assumption, between, counted, fixed, listed, several, signed
from agentcomm.statistics import CLAIM_SEEDS

FIRST = 8  # attacks in the figure beside the answer
EFFECTS = ("damage", "its control", "silence", "lie", "success", "own rate", "its control", "clean", "cells by outcome")
THREATS = ("position", "powers", "knowledge", "budget", "version", "edits", "edits of its control", "success means")


def attacks(results: Results, claims: Claims) -> list[Markup]:
    """Sentences on what the attacks do to the undefended team."""
    order = undefended(results)
    if not order:
        return []
    out = [_costly(results, claims, order)]
    out += [text for text in (_held(results, order), _split(results, order)) if text]
    return out


def _held(results: Results, order: list[str]) -> Markup:
    """In which cells the undefended attacks beat their matched controls."""
    cells = {a: effect(results, a).outcomes for a in order if effect(results, a)["success"].known}
    if not cells:
        return Markup("")
    won = {a: outcomes["success"] for a, outcomes in cells.items() if outcomes["success"]}
    total = sum(outcomes["success"] + outcomes["resisted"] for outcomes in cells.values())
    text = Markup(
        "A matched control spends what the attack spends, without its intent. Held against it, episode by episode, the"
        " attacks succeed in {} of {} undefended cells{}."
    )
    each = [Markup("{} in {}").format(brief(results, a), count) for a, count in won.items()]
    return text.format(sum(won.values()), total, Markup(": {}").format(listed(each)) if each else "")


def _split(results: Results, order: list[str]) -> Markup:
    """Damage as silence and lie, of the attacks with the largest damage."""
    split = [a for a in order if effect(results, a)["silence"].known and effect(results, a)["lie"].known][:3]
    if not split:
        return Markup("")
    parts = [(a, effect(results, a)["silence"].value, effect(results, a)["lie"].value) for a in split]
    said = [
        Markup("{}: {} silence and {} lie").format(brief(results, a), _number(results, silence), _number(results, lie))
        for a, silence, lie in parts
    ]
    text = Markup(
        "Damage is what dropping the touched messages costs (silence) plus what their content adds (lie). {}."
    )
    negative = any(lie < 0 for _, _, lie in parts)
    note = " Where the lie is negative, the changed messages still do less damage than none." if negative else ""
    return text.format(Markup("; ").join(said)) + note


def _costly(results: Results, claims: Claims, order: list[str]) -> Markup:
    """Which attacks cost something, where that is supported; otherwise the damages as numbers."""
    costly = [a for a in order if claims.costs(a)]
    said = listed(
        [Markup("{} {}").format(brief(results, a), part(results, effect(results, a)["damage"])) for a in order[:3]]
    )
    if not costly:
        few = len(results.seeds) < CLAIM_SEEDS
        why = f"with {several(len(results.seeds), 'seed')}, nothing is claimed" if few else "no damage is supported"
        return Markup("Largest damage without defenses: {} ({}).").format(said, why)
    rest = [a for a in order if a not in costly]
    text = Markup("{} of {} attacks cost the undefended team something: {}.").format(
        len(costly), len(order), briefly(results, costly)
    )
    text += Markup(" The largest damage: {}.").format(said)
    return text + (Markup(" Not supported: {}.").format(briefly(results, rest)) if rest else Markup(""))


@dataclass(frozen=True)
class Bar:
    """A stretch of the axis, in percent."""

    left: float
    width: float


@dataclass(frozen=True)
class DamageRow:
    """The damage of an undefended attack on the axis of all attacks; places in percent.

    Attributes:
        label: The attack.
        assumes: What it assumes of its victims.
        damage: Its damage as text, with interval or seeds.
        control: Damage of its control as text; empty if unknown.
        at: Place of its damage.
        control_at: Place of its control's damage; None if unknown.
        whisker: Its interval.
        dots: Its seeds, if they are too few for an interval.
        silence: What dropping the touched messages costs.
        lie: What goes beyond it; from silence back to the damage if the content does less damage than none.
        parts: Silence and lie as text.
    """

    label: str
    assumes: str
    damage: str
    control: str
    at: float
    control_at: float | None
    whisker: Bar | None
    dots: list[float]
    silence: Bar | None
    lie: Bar | None
    parts: str


@dataclass(frozen=True)
class DamageFigure:
    """Damage of each attack on one axis, whose zero is the team without attacks."""

    unit: str
    zero: float
    rows: list[DamageRow]
    more: int
    split: bool
    floor: float | None


def figure(results: Results, most: int = FIRST) -> DamageFigure | None:
    """The attacks of the largest damage, on one axis; None without any."""
    order = undefended(results)
    if not order:
        return None
    found = {a: effect(results, a) for a in order[:most]}
    worth = results.compare(results.clean, results.floor).difference.value
    ends = [0.0, *([worth] if math.isfinite(worth) else [])]
    for e in found.values():
        damage = e["damage"]
        ends += [damage.value, *(damage.estimate.interval or ()), e["control_damage"].value, e["silence"].value]
        ends += [] if damage.estimate.interval else list(damage.by_seed.values())
    ends = [end for end in ends if math.isfinite(end)]
    pad = 0.05 * (max(ends) - min(ends)) or 1.0
    low, high = min(ends) - pad, max(ends) + pad

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    rows = [_row(results, attack, e, place) for attack, e in found.items()]
    return DamageFigure(
        unit=results.primary.unit,
        zero=place(0.0),
        rows=rows,
        more=len(order) - len(rows),
        split=any(row.lie for row in rows),
        floor=place(worth) if math.isfinite(worth) and worth > 0 else None,
    )


def _row(results: Results, attack: str, found: Effect, place: Any) -> DamageRow:
    digits, damage = results.primary.digits, found["damage"]
    control, silence, lie = (found[name] for name in ("control_damage", "silence", "lie"))

    def bar(start: float, end: float) -> Bar | None:
        return Bar(min(start, end), round(abs(end - start), 2))

    split = silence.known and lie.known
    return DamageRow(
        label=attack,
        assumes=assumption(results.assumes(attack)),
        damage=fixed(damage.value, digits) + between(damage.estimate, digits, damage.by_seed),
        control=fixed(control.value, digits) if control.known else "",
        at=place(damage.value),
        control_at=place(control.value) if control.known else None,
        whisker=bar(*map(place, damage.estimate.interval)) if damage.estimate.interval else None,
        dots=[] if damage.estimate.interval else [place(v) for v in damage.by_seed.values() if math.isfinite(v)],
        silence=bar(place(0.0), place(silence.value)) if split else None,
        lie=bar(place(silence.value), place(silence.value + lie.value)) if split else None,
        parts=f"silence {fixed(silence.value, digits)}, lie {fixed(lie.value, digits)}" if split else "",
    )


@dataclass(frozen=True)
class Table:
    """A table with a row per attack: its label, what it assumes, and the entries; columns without any are left out."""

    header: list[str]
    rows: list[tuple[str, str, list[str]]]


def tables(results: Results) -> list[Table]:
    """What each attack does without defenses, and what it may do and spent."""
    digits, effects, threats = results.primary.digits, {}, {}
    for label in results.attacks:
        found = effect(results, label)
        in_score = [found[name] for name in ("damage", "control_damage", "silence", "lie")]
        shares = [found[name] for name in ("success", "rate", "control_rate", "clean_rate")]
        outcomes = counted(found.outcomes)
        effects[label] = [
            *(fixed(p.value, digits) + between(p.estimate, digits) for p in in_score),
            *(fixed(p.value, 2) + between(p.estimate, 2) for p in shares),
            outcomes,
        ]
        edits = [_edits(spent) for spent in (found.spent, found.control_spent)]
        threats[label] = [*_threat(results.records[label]), *edits, found.predicate or DASH]
    return [_table(results, EFFECTS, effects), _table(results, THREATS, threats)]


def _table(results: Results, header: Sequence[str], entries: Mapping[str, list[str]]) -> Table:
    kept = [i for i in range(len(header)) if any(row[i] not in ("", DASH) for row in entries.values())]
    rows = [(a, assumption(results.assumes(a)), [row[i] for i in kept]) for a, row in entries.items()]
    return Table([header[i] for i in kept], rows)


def _threat(record: Mapping[str, Any]) -> list[str]:
    """Position, powers, knowledge, budget and version of an attack."""
    threat = record.get("threat")
    threat = threat if isinstance(threat, dict) else {}
    powers, budget = threat.get("powers"), threat.get("budget")
    limits = {k: v for k, v in budget.items() if v not in (None, 0)} if isinstance(budget, dict) else {}
    return [
        _plain(threat.get("position")),
        ", ".join(sorted(map(str, powers))) if isinstance(powers, list) else DASH,
        _plain(threat.get("knowledge")),
        ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in limits.items()) or "unlimited",
        str(record.get("version") or DASH),
    ]


def _plain(value: Any) -> str:
    """A position or knowledge entry as text; nested ones as ``kind (key value)``."""
    if isinstance(value, Mapping):
        rest = {k: v for k, v in value.items() if k != "kind" and v is not None}
        inner = ", ".join(f"{k} {v}" for k, v in rest.items())
        return f"{value.get('kind', '')} ({inner})" if inner else str(value.get("kind", ""))
    return DASH if value in (None, "") else str(value)


def _edits(spent: Mapping[str, float]) -> str:
    return f"{spent['edits']:,.0f}" if "edits" in spent else DASH


def _number(results: Results, value: float) -> Markup:
    return Markup("<b>{}</b>").format(signed(value, results.primary.digits).removeprefix("+"))
