"""Gates and traffic: the share of open gates by step, and message statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from agentcomm.report.charts import Chart, Line, chart, mean_line
from agentcomm.report.effects import undefended
from agentcomm.report.load import number
from agentcomm.report.results import NONE, Results
from agentcomm.report.text import DASH, fixed, percent


def timeline(results: Results) -> Chart | None:
    """Share of open gates by step: each seed without attacks, the mean, and the mean under two attacks.

    The attacks are the one with the largest damage, and the one that changes the gates most. A team whose gates are
    always open has no timeline.
    """
    clean, by_attack = _seeds(results, None), {attack: _seeds(results, attack) for attack in results.attacks}
    means = {a: mean_line(a, "", lines) for a, lines in by_attack.items() if lines}
    shown = [a for a in undefended(results) if a in means][:1]
    if clean:
        base = mean_line("clean", "team", clean)
        moved = {a: float(np.abs(np.subtract(line.ys, base.ys)).mean()) for a, line in means.items()}
        shown += [a for a in sorted(moved, key=lambda a: -moved[a])[:1] if moved[a] > 0.01 and a not in shown]
        lines = [*(clean if len(clean) > 1 else []), base]
    else:
        lines = []
    for style, attack in zip(("attacked", "s2"), shown, strict=False):
        lines.append(Line(attack, style, means[attack].xs, means[attack].ys))
    if all(y == 1.0 for line in lines for y in line.ys):
        return None  # a team without gates
    return chart("Share of open gates by step of the episode", "step", lines, (0.0, 1.0))


def _seeds(results: Results, attack: str | None) -> list[Line]:
    lines = []
    for row in results.rows(attack, NONE):
        shares = [number(x) for x in row.get("gate_by_step") or []]
        if row.get("status") == "ok" and any(math.isfinite(x) for x in shares):
            last = max(i for i, x in enumerate(shares) if math.isfinite(x)) + 1
            lines.append(Line("", "team", [float(i) for i in range(1, last + 1)], shares[:last], faint=True))
    return lines


def traffic(results: Results) -> list[tuple[str, str]]:
    """Message statistics of the team without attacks."""

    def mean(key: str) -> float:
        return results.estimate(results.scores(None, key=key), key).value

    found = [
        ("share of open gates, all steps", percent(mean("gate_open"))),
        ("messages per step, whole team", fixed(mean("messages_per_step"), 2)),
        ("bytes per step on the wire", fixed(mean("bytes_per_step"), 0)),
    ]
    return [(name, value) for name, value in found if value != DASH]


def graphs(results: Results) -> tuple[dict[int, Any], dict[int, Any], list[str]]:
    """Executed graphs and mean accepted messages per step on each edge, by seed, and the names of the agents."""
    rows = [row for row in results.rows(None, NONE) if row.get("status") == "ok"]
    agents: list[Any] = next((row["agents"] for row in rows if row.get("agents")), [])
    links, flows = ({row["seed"]: row[key] for row in rows if row.get(key)} for key in ("graph", "edges"))
    return links, flows, [str(name) for name in agents]
