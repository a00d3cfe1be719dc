"""Detectors: how well the suspicion scores of a defense tell attacked messages from others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agentcomm.report.charts import Chart, Line, chart
from agentcomm.report.load import number
from agentcomm.report.results import Results, Scores, spread
from agentcomm.report.text import DASH, assumption, between, fixed
from agentcomm.statistics import POSITIVE, SHARE

NAMES = ("detector", "attack", "together with")
COLUMNS = (
    ("auroc", "AUROC", SHARE, 2),
    ("auprc", "AUPRC", SHARE, 2),
    ("tpr_at_1_fpr", "TPR at 1% FPR", SHARE, 2),
    ("tpr", "TPR at its threshold", SHARE, 2),
    ("fpr", "FPR at its threshold", SHARE, 3),
    ("delay", "delay, steps", POSITIVE, 1),
    ("false_isolations", "false isolations per 1,000 clean episodes", POSITIVE, 1),
)
LINES = 6  # attacks in one chart
RATES = np.linspace(0.0, 1.0, 101)

Found = dict[tuple[str, str, str], dict[int, dict[str, Any]]]


def detections(results: Results) -> Found:
    """Records by detector, attack and defenses, and then by seed."""
    found: Found = {}
    for attack in results.attacks:
        for defense in results.defenses:
            for row in results.rows(attack, defense):
                records = row.get("detection")
                for detector, record in (records if isinstance(records, dict) else {}).items():
                    if row.get("status") == "ok" and isinstance(record, dict):
                        found.setdefault((str(detector), attack, defense), {})[row["seed"]] = record
    return found


def table(results: Results, found: Found) -> tuple[list[str], list[list[str]]]:
    """Header and rows of all detectors, without empty columns."""
    rows = []
    for (detector, attack, defense), by_seed in found.items():
        assumed = assumption(results.assumes(attack))
        row = [detector, f"{attack} (assumes {assumed})" if assumed else attack, defense if defense != detector else ""]
        for key, _, scale, digits in COLUMNS:
            values: Scores = {seed: number(record.get(key)) for seed, record in by_seed.items()}
            mean = spread(values, scale)
            row.append(fixed(mean.value, digits) + between(mean, digits))
        rows.append(row)
    header = [*NAMES, *(name for _, name, _, _ in COLUMNS)]
    kept = [i for i in range(len(header)) if any(row[i] not in ("", DASH) for row in rows)]
    return [header[i] for i in kept], [[row[i] for i in kept] for row in rows]


def curves(found: Found) -> list[Chart]:
    """ROC curves of each detector, mean over seeds: a line per attack, or for several that are alike."""
    charts = []
    for detector in dict.fromkeys(key[0] for key in found):
        own: dict[str, tuple[list[float], float]] = {}
        for (name, attack, _), by_seed in found.items():
            if name == detector and attack not in own and (seeds := _roc(by_seed)):
                area = spread({seed: number(record.get("auroc")) for seed, record in by_seed.items()}, SHARE)
                own[attack] = np.mean([line.ys for line in seeds], axis=0).tolist(), area.value
        alike: dict[tuple[float, ...], list[str]] = {}
        for attack, (rates, _) in own.items():
            alike.setdefault(tuple(round(rate, 3) for rate in rates), []).append(attack)
        lines = [Line("", "chance", [0.0, 1.0], [0.0, 1.0])]
        for style, attacks in enumerate(list(alike.values())[:LINES]):
            rates, area_below = own[attacks[0]]
            label = ", ".join(attacks)
            lines.append(Line(label, f"s{style}", RATES.tolist(), rates, note=fixed(area_below, 2)))
        title = f"ROC of {detector}: true positive rate, and AUROC"
        drawn = chart(title, "false positive rate", lines, (0.0, 1.0)) if own else None
        if drawn is not None:
            charts.append(drawn)
    return charts


def _roc(by_seed: Mapping[int, Mapping[str, Any]]) -> list[Line]:
    """The curve of each seed on shared false positive rates."""
    lines = []
    for record in by_seed.values():
        points = sorted(_points(record.get("curve")))
        if len(points) > 1:
            xs, ys = zip(*points, strict=True)
            lines.append(Line("", "", RATES.tolist(), np.interp(RATES, xs, ys).tolist()))
    return lines


def _points(curve: Any) -> Sequence[tuple[float, float]]:
    pairs = [(number(x), number(y)) for x, y in (curve if isinstance(curve, list) else [])]
    return [(x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
