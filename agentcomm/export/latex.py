r"""LaTeX: a booktabs table per run, attacks by defenses, of the score that its teams are compared by.

A number is the mean over seeds with its 95% interval (:func:`agentcomm.statistics.estimate`); below 5 seeds it has
none. The file is input into a document that loads ``booktabs``: ``\usepackage{booktabs}``, ``\input{table.tex}``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from agentcomm.report.load import RunData, number
from agentcomm.statistics import MIN_SEEDS, POSITIVE, REAL, SHARE, Estimate, Scale, estimate

ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
} | {symbol: f"\\{symbol}" for symbol in "&%$#_{}"}
SCALES = {"success": SHARE, "mean_steps": POSITIVE}  # of other metrics the bounds are unknown here


def as_latex(runs: Sequence[RunData]) -> tuple[bytes, list[str]]:
    """A table per run."""
    return "\n".join(_table(run) for run in runs).encode(), [
        f"{run.name}: {note}" for run in runs for note in run.left_out
    ]


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is; control characters become spaces."""
    return "".join(ESCAPES.get(letter, letter if letter.isprintable() else " ") for letter in text)


def _table(run: RunData) -> str:
    metric = next((cell["score"]["metric"] for cell in run.cells if cell.get("score")), "mean_return")
    unit = next((cell["score"].get("unit", "") for cell in run.cells if cell.get("score")), "")
    groups: dict[str, dict[str, dict[int, float]]] = {}  # row, defense, seed
    for cell in run.cells:
        good = cell.get("status") != "failed"
        score = number(cell["metrics"].get(metric)) if good else math.nan
        groups.setdefault(_heading(cell), {}).setdefault(cell.get("defense_label", "none"), {})[cell["seed"]] = score
    defenses = list(dict.fromkeys(defense for columns in groups.values() for defense in columns))
    scale = SCALES.get(metric, REAL)
    heads = ["attack", *("no defense" if defense == "none" else defense for defense in defenses)]
    seeds = max(len(scores) for columns in groups.values() for scores in columns.values())
    words = f"{run.name}: {metric.replace('_', ' ')}{f' in {unit}' if unit else ''}, mean over {seeds} seeds"
    intervals = r" with 95\% intervals" if seeds >= MIN_SEEDS else ""
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{escaped(words)}{intervals}.}}"]
    lines += [r"\begin{tabular}{l" + "r" * len(defenses) + "}", r"\toprule", _row(map(escaped, heads)), r"\midrule"]
    for heading, columns in groups.items():
        lines.append(_row([escaped(heading), *(_cell(columns.get(defense), scale) for defense in defenses)]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _heading(cell: dict[str, Any]) -> str:
    attack = "no attack" if cell.get("attack") is None else cell["attack"]["label"]
    if cell["variant"] == "control":
        attack = "retrained without messages"
    return f"{cell['conditions_label']}: {attack}" if cell.get("conditions_label") else str(attack)


def _cell(scores: dict[int, float] | None, scale: Scale) -> str:
    """An estimate as a cell of the table; empty if the combination was not evaluated."""
    if scores is None:
        return ""
    found = estimate(scores, scale)
    return "failed" if not found.known else f"{_digits(found.value)}{_interval(found)}"


def _interval(found: Estimate) -> str:
    if found.interval is None:
        return ""
    return rf" {{\footnotesize [{_digits(found.interval[0])}, {_digits(found.interval[1])}]}}"


def _digits(value: float) -> str:
    """Two decimals, or three significant digits of a small number; with a minus sign instead of a hyphen."""
    text = f"{value:.2f}" if abs(value) >= 0.1 or not value else f"{value:.3g}"
    mantissa, _, exponent = text.replace("-", "$-$", int(value < 0)).partition("e")
    return rf"{mantissa}$\cdot10^{{{int(exponent)}}}$" if exponent else mantissa


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
