"""Phrases of the summary: attacks, amounts and intervals."""

from __future__ import annotations

import math

from markupsafe import Markup

from agentcomm.evaluation.statistics import Estimate
from agentcomm.report.results import Measure, Results, Scores
from agentcomm.report.text import fixed, named, span


def brief(results: Results, label: str) -> Markup:
    """An attack's name if it is unambiguous, otherwise its full label."""
    record = results.records.get(label) or {}
    name = str(record.get("name") or label)
    namesakes = [r for r in results.records.values() if r.get("name") == name]
    return named([name if len(namesakes) == 1 else label])


def amount(value: float, measure: Measure, digits: int | None = None) -> Markup:
    """A number in bold, with the measure's unit."""
    return Markup("<b>{}&nbsp;{}</b>").format(fixed(value, measure.digits if digits is None else digits), measure.unit)


def in_brackets(estimate: Estimate, digits: int, scores: Scores | None = None, first: bool = False) -> Markup:
    """The interval, or with too few seeds the single values; explained only where ``first``."""
    text = span(estimate, digits)
    if text and first:
        return Markup(" <small>({}; 95% interval over {}&nbsp;seeds)</small>").format(text, estimate.seeds)
    if text:
        return Markup(" <small>({})</small>").format(text)
    if scores and estimate.seeds > 1:
        values = ", ".join(fixed(v, digits) for v in scores.values() if math.isfinite(v))
        return Markup(" <small>(seeds: {})</small>").format(values)
    return Markup(" <small>(one seed)</small>") if estimate.seeds == 1 and first else Markup("")


def percent_interval(estimate: Estimate) -> Markup:
    """The interval of a share, in percent; empty without one."""
    text = span(estimate, 0, 100.0, "%")
    return Markup(" <small>({})</small>").format(text) if text else Markup("")


def complement(estimate: Estimate) -> Estimate:
    """One minus an estimate."""
    ends = estimate.interval and (1 - estimate.interval[1], 1 - estimate.interval[0])
    return Estimate(1 - estimate.value, ends, estimate.seeds, estimate.excluded, estimate.reason)
