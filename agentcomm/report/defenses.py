"""What the defenses avert, and at what price: sentences, and Pareto fronts of damage averted against clean cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from agentcomm.report.charts import Tick, short, ticks
from agentcomm.report.claims import Claims
from agentcomm.report.effects import averted, undefended
from agentcomm.report.phrases import amount
from agentcomm.report.results import NONE, Results, Scores, spread
from agentcomm.report.text import between, fixed, named, several, signed, small
from agentcomm.statistics import Estimate


def defenses(results: Results, claims: Claims) -> list[Markup]:
    """Sentences on what the defenses avert and cost."""
    names = [d for d in results.defenses if d != NONE]
    if not names:
        return [Markup("No defense was evaluated.")] if results.attacks else []
    return [
        text
        for text in (
            _help(results, claims, names),
            _both_ways(results, names),
            _adaptive(results, names),
            _tax(results, claims, names),
        )
        if text
    ]


def _help(results: Results, claims: Claims, names: Sequence[str]) -> Markup:
    """The damage averted on average over the attacks."""
    parts = []
    for defense in names:
        by_seed = averted(results, defense, "mean")
        found = spread(by_seed)
        if found.known:
            verb = Markup("helps: it averts ") if claims.helps(defense) else Markup("")
            number = amount(found.value, results.primary) + small(between(found, results.primary.digits, by_seed))
            parts.append(Markup("{} {}{}").format(named([defense]), verb, number))
    if not parts:
        return Markup("")
    return Markup("Damage averted, mean over the attacks: {}.").format(Markup("; ").join(parts))


def _both_ways(results: Results, names: Sequence[str]) -> Markup:
    """Under how many attacks the score is higher or lower with a defense than without; a plain count."""
    parts = []
    for defense in names:
        gains = [
            results.compare(results.scores(attack, defense), results.scores(attack)).difference.value
            for attack in undefended(results)
        ]
        known = [gain for gain in gains if math.isfinite(gain)]
        least = 0.5 * 10**-results.primary.digits
        if known:
            better, worse = sum(gain > least for gain in known), sum(gain < -least for gain in known)
            parts.append(Markup("{} {} better, {} worse").format(named([defense]), better, worse))
    if not parts:
        return Markup("")
    return Markup(
        "Number of the {} under which the team scores better or worse with a defense than without: {}."
    ).format(several(len(undefended(results)), "attack"), Markup("; ").join(parts))


def _adaptive(results: Results, names: Sequence[str]) -> Markup:
    """What the worst attack that is aimed at each defense takes from the defended team; defenses without are named."""
    parts, untested = [], []
    for defense in names:
        losses = {
            attack: spread(results.gains(results.scores(None, defense), results.scores(attack, defense)))
            for attack in results.aimed.get(defense, [])
        }
        known = {attack: loss for attack, loss in losses.items() if loss.known}
        if not known:
            untested.append(defense)
            continue
        worst = max(known, key=lambda attack: known[attack].value)
        number = Markup("{}&nbsp;{}").format(signed(known[worst].value, results.primary.digits), results.primary.unit)
        parts.append(Markup("{} {} ({})").format(named([defense]), number, worst))
    text = Markup("")
    if parts:
        text += Markup("Damage of the worst attack that knows the defense and aims at its weakness: {}. ").format(
            Markup("; ").join(parts)
        )
    if untested:
        text += Markup("<b>Not tested</b> against such an attack: {}.").format(named(untested))
    return text


def _tax(results: Results, claims: Claims, names: Sequence[str]) -> Markup:
    """What each defense costs without attacks."""
    parts, m = [], results.primary
    for defense in names:
        tax = _taxes(results, defense)
        found = spread(tax)
        if not found.known:
            continue
        number = Markup("{}&nbsp;{}").format(signed(found.value, max(m.digits, 2)), m.unit)
        number += small(between(found, max(m.digits, 2), tax))
        more = _more_bytes(results, defense).value
        wire = Markup(", {}% more bytes").format(fixed(more, 0)) if more > 0.5 else Markup("")
        verb = Markup("costs ") if claims.taxes(defense) else Markup("")
        parts.append(Markup("{} {}{}{}").format(named([defense]), verb, number, wire))
    return Markup("Clean cost, without attacks: {}.").format(Markup("; ").join(parts)) if parts else Markup("")


def _taxes(results: Results, defense: str) -> Scores:
    """By seed, how much worse the team scores with a defense, without attacks."""
    return results.gains(results.clean, results.scores(None, defense))


def _more_bytes(results: Results, defense: str) -> Estimate:
    """Additional bytes per step with a defense, in percent of those without."""
    alone = results.scores(None, NONE, "bytes_per_step")
    with_it = results.scores(None, defense, "bytes_per_step")
    return spread({s: 100 * (with_it[s] / alone[s] - 1) for s in with_it if s in alone and alone[s] > 0})


@dataclass(frozen=True)
class Point:
    """Defenses at one place in a chart, in percent; ``front`` if no other one is both cheaper and better."""

    name: str
    label: str
    x: float
    y: float
    front: bool
    text: str


@dataclass(frozen=True)
class Front:
    """A chart of damage averted against clean cost."""

    title: str
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    points: list[Point]
    path: str
    summary: str


def fronts(results: Results) -> list[Front]:
    """Damage averted against the cost in score and in bytes, in the worst case over the attacks and on average."""
    names = [d for d in results.defenses if d != NONE]
    if not undefended(results) or not names:
        return []
    found = []
    costs = (("score", f"clean cost in {results.primary.unit}"), ("bytes", "additional bytes in %"))
    for cost, x_label in costs:
        for how, y_label in (("worst", "worst case"), ("mean", "mean over the attacks")):
            points = {NONE: (0.0, 0.0)}
            for defense in names:  # unknown ones keep their number
                x = spread(_taxes(results, defense)) if cost == "score" else _more_bytes(results, defense)
                y = spread(averted(results, defense, "worst" if how == "worst" else "mean"))
                points[defense] = (x.value, y.value)
            if any(math.isfinite(x + y) for name, (x, y) in points.items() if name != NONE):
                title = (
                    f"Damage averted in the {y_label}" if how == "worst" else "Damage averted, mean over the attacks"
                )
                found.append(_front(title, x_label, f"{results.primary.unit} averted", points))
    return found


def _front(title: str, x_label: str, y_label: str, points: dict[str, tuple[float, float]]) -> Front:
    numbers = {name: str(number) for number, name in enumerate(points)}
    points = {name: point for name, point in points.items() if all(map(math.isfinite, point))}
    xs, ys = zip(*points.values(), strict=True)
    (left, right), (low, high) = _padded(xs), _padded(ys)

    def across(x: float) -> float:
        return round(100 * (x - left) / (right - left), 2)

    def up(y: float) -> float:
        return round(100 - 100 * (y - low) / (high - low), 2)

    best = [name for name, point in points.items() if not _dominated(point, points.values())]
    best.sort(key=lambda name: points[name])
    path = "M" + "L".join(f"{across(points[n][0]):g} {up(points[n][1]):g}" for n in best)
    places: list[list[str]] = []  # defenses at nearly one place share a label
    for name, (x, y) in points.items():
        near = (
            group
            for group in places
            if abs(across(x) - across(points[group[0]][0])) < 3 and abs(up(y) - up(points[group[0]][1])) < 5
        )
        if (group := next(near, None)) is None:
            places.append([name])
        else:
            group.append(name)
    drawn = [
        Point(
            ", ".join("no defense" if name == NONE else name for name in names),
            ", ".join(numbers[name] for name in names),
            across(points[names[0]][0]),
            up(points[names[0]][1]),
            any(name in best for name in names),
            "cost {}, averted {}".format(*(signed(value, 2) for value in points[names[0]])),
        )
        for names in places
    ]
    said = "; ".join(f"{p.name}: {p.text}{', on the front' if p.front else ''}" for p in drawn)
    return Front(
        title=title,
        x_label=x_label,
        y_label=y_label,
        x_ticks=[Tick(across(x), short(x)) for x in ticks(left, right)],
        y_ticks=[Tick(up(y), short(y)) for y in ticks(low, high)],
        points=drawn,
        path=path,
        summary=f"{title} against {x_label}. {said}.",
    )


def _dominated(point: tuple[float, float], others: Iterable[tuple[float, float]]) -> bool:
    """Whether another one costs no more and averts no less, and is better in one of them."""
    x, y = point
    return any(a <= x and b >= y and (a, b) != (x, y) for a, b in others)


def _padded(values: Sequence[float]) -> tuple[float, float]:
    pad = 0.12 * (max(values) - min(values)) or 1.0
    return min(values) - pad, max(values) + pad
