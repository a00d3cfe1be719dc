"""Phrases of the sentences: attacks with what they assume, and amounts."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from agentcomm.report.effects import Part
from agentcomm.report.measures import Measure
from agentcomm.report.results import Results, Scores
from agentcomm.report.text import assumption, between, fixed, listed, small


def brief(results: Results, label: str) -> Markup:
    """An attack's name if it is unambiguous, otherwise its full label, with what it assumes of its victims."""
    record = results.records.get(label) or {}
    name = str(record.get("name") or label)
    namesakes = [r for r in results.records.values() if r.get("name") == name]
    code = Markup("<code>{}</code>").format(name if len(namesakes) == 1 else label)
    assumed = assumption(results.assumes(label))
    return Markup("{} (assuming {})").format(code, assumed) if assumed else code


def briefly(results: Results, labels: Sequence[str], most: int = 6) -> Markup:
    """Several attacks; those beyond ``most`` as a number."""
    parts = [brief(results, label) for label in labels[:most]]
    rest = len(labels) - most
    return listed([*parts, Markup("{} more").format(rest)] if rest > 0 else parts)


def amount(value: float, measure: Measure) -> Markup:
    """A number in bold, with the measure's unit."""
    return Markup("<b>{}&nbsp;{}</b>").format(fixed(value, measure.digits), measure.unit)


def score(results: Results, by_seed: Scores, first: bool = False) -> Markup:
    """A score with its interval or its seeds."""
    found = results.estimate(by_seed)
    return amount(found.value, results.primary) + small(between(found, results.primary.digits, by_seed, first))


def part(results: Results, number: Part) -> Markup:
    """A part of an effect with its interval or its seeds."""
    measure = results.primary
    return amount(number.value, measure) + small(between(number.estimate, measure.digits, number.by_seed))
