"""Line charts as plain data: paths in a 100 x 100 box that the page scales, with ticks and labels as text.

The page draws paths with ``vector-effect: non-scaling-stroke``, so line widths and text keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from agentcomm.report.load import Curve, number
from agentcomm.report.text import fixed

POINTS = 120  # largest number of points per line
WRAPPED = 14  # characters of a label in one line


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        label: Name at its end; empty for the faint lines of single seeds.
        style: CSS class: team, control, attacked, chance, or s0 to s5.
        xs: Ascending.
        ys: Values, NaN for a gap.
        faint: Whether the line is one seed of several.
        note: What stands at its end; its last value if empty.
    """

    label: str
    style: str
    xs: Sequence[float]
    ys: Sequence[float]
    faint: bool = False
    note: str = ""


@dataclass(frozen=True)
class Tick:
    """A tick at ``at`` percent of an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Drawn:
    """A line as an SVG path, with its label at ``x``, ``y`` percent."""

    path: str
    style: str
    faint: bool
    label: str
    x: float
    y: float
    last: str
    noted: bool


@dataclass(frozen=True)
class Chart:
    """A chart in the form that the page draws."""

    title: str
    x_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Drawn]
    summary: str


def chart(title: str, x_label: str, lines: Sequence[Line], y_range: tuple[float, float] | None = None) -> Chart | None:
    """Lay out lines on shared axes; None if no line has a point.

    Args:
        title: Quantity that is plotted, with its unit.
        x_label: Name of the horizontal axis.
        lines: Lines, of which faint ones are drawn first.
        y_range: Ends of the vertical axis; None for the range of the data, including zero.
    """
    lines = [line for line in lines if any(math.isfinite(y) for y in line.ys)]
    if not lines:
        return None
    xs = [x for line in lines for x in line.xs]
    ys = [y for line in lines for y in line.ys if math.isfinite(y)]
    left, right = min(xs), max(max(xs), min(xs) + 1e-9)
    low, high = y_range or (min(0.0, min(ys)), max(ys))
    y_values = ticks(low, high)
    if y_range is None:
        high = max(high, y_values[-1]) if y_values[-1] >= high else high + 0.04 * (high - low)
    high = max(high, low + 1e-9)

    def across(x: float) -> float:
        return round(100 * (x - left) / (right - left), 2)

    def up(y: float) -> float:
        return round(100 - 100 * (y - low) / (high - low), 2)

    drawn = []
    for line in sorted(lines, key=lambda line: not line.faint):
        points = [(across(x), up(y)) if math.isfinite(y) else None for x, y in zip(line.xs, line.ys, strict=True)]
        end = [p for p in points if p is not None][-1]
        last = fixed([y for y in line.ys if math.isfinite(y)][-1], 2 if high <= 2 else 1)
        drawn.append(Drawn(_path(points), line.style, line.faint, line.label, *end, line.note or last, bool(line.note)))
    named = _apart([d for d in drawn if d.label])
    summary = "; ".join(f"{d.label} {d.last}" if d.noted else f"{d.label} ends at {d.last}" for d in named)
    return Chart(
        title=title,
        x_label=x_label,
        x_ticks=[Tick(across(x), short(x)) for x in ticks(left, right)],
        y_ticks=[Tick(up(y), short(y)) for y in y_values if low - 1e-9 <= y <= high + 1e-9],
        lines=[d for d in drawn if not d.label] + named,
        summary=f"{title}. {summary}.",
    )


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers within [low, high]: steps of 1, 2 or 5 times a power of ten."""
    spread = high - low
    if not spread > 0:
        return [low]
    raw = spread / wanted
    size = 10.0 ** math.floor(math.log10(raw))
    step = size * next(m for m in (1, 2, 5, 10) if m * size >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def mean_line(label: str, style: str, lines: Sequence[Line]) -> Line:
    """The mean of several lines on a shared grid of x, over the range that all of them cover."""
    start, stop = max(line.xs[0] for line in lines), min(line.xs[-1] for line in lines)
    grid = np.linspace(start, max(start, stop), POINTS)
    rows = []
    for line in lines:
        xs, ys = np.asarray(line.xs, dtype=float), np.asarray(line.ys, dtype=float)
        good = np.isfinite(ys)
        rows.append(np.interp(grid, xs[good], ys[good]))
    return Line(label, style, grid.tolist(), np.mean(rows, axis=0).tolist())


def learning_charts(curves: Sequence[Curve], score: str) -> list[Chart]:
    """Charts of episode length, success rate and open gates in training: a faint line per seed, and their mean.

    Args:
        curves: Learning curves of all teams.
        score: The metric by which cells are scored; the return is shown first if it is ``mean_return``.
    """
    wanted: tuple[tuple[str, str, tuple[float, float] | None], ...] = (
        *((("Episode return", "episode_return", None),) if score == "mean_return" else ()),
        ("Episode length in steps", "episode_length", None),
        ("Success rate", "success", (0.0, 1.0)),
        ("Share of open gates", "gate_open", (0.0, 1.0)),
    )
    names = {"team": "with messages", "control": "without"}
    charts = []
    for title, key, y_range in wanted:
        lines: list[Line] = []
        for variant, name in names.items():
            if key == "gate_open" and variant == "control":
                continue  # it has no gate
            seeds = [_learning_line(c, key) for c in curves if c.variant == variant]
            seeds = [line for line in seeds if any(math.isfinite(y) for y in line.ys)]
            if key == "gate_open" and all(y == 1.0 for line in seeds for y in line.ys):
                continue  # a team without gates
            if len(seeds) > 1:
                lines += [*seeds, mean_line(name, variant, seeds)]
            elif seeds:
                lines.append(Line(name, variant, seeds[0].xs, seeds[0].ys))
        drawn = chart(title, "environment steps", lines, y_range)
        if drawn is not None:
            charts.append(drawn)
    return charts


def _learning_line(curve: Curve, key: str) -> Line:
    points = [(number(row.get("env_steps")), number(row.get(key))) for row in curve.rows]
    points = sorted((x, y) for x, y in points if math.isfinite(x) and math.isfinite(y))
    if len(points) > POINTS:
        # averages of neighboring points rather than every n-th point, to avoid aliasing
        chunks = np.array_split(np.asarray(points), POINTS)
        points = [(float(c[:, 0].mean()), float(c[:, 1].mean())) for c in chunks]
    return Line("", curve.variant, [x for x, _ in points], [y for _, y in points], faint=True)


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    parts, pen = [], "M"
    for i, point in enumerate(points):
        if point is None:
            pen = "M"
            continue
        alone = pen == "M" and (i + 1 == len(points) or points[i + 1] is None)
        parts.append(f"{pen}{point[0]:g} {point[1]:g}" + ("h0" if alone else ""))
        pen = "L"
    return "".join(parts)


def _apart(lines: list[Drawn], gap: float = 12.0) -> list[Drawn]:
    """Move labels at the same height apart, and those below the plot up again."""
    lines = sorted(lines, key=lambda d: d.y)
    heights = [gap * (0.4 + 0.6 * math.ceil((len(line.label) + len(line.last) + 1) / WRAPPED)) for line in lines]
    places: list[float] = []
    for i, line in enumerate(lines):
        least = places[-1] + (heights[i - 1] + heights[i]) / 2 if places else heights[i] / 2 - gap / 2
        places.append(max(line.y, least))
    for i in reversed(range(len(places))):
        limit = 100.0 if i + 1 == len(places) else places[i + 1] - (heights[i] + heights[i + 1]) / 2
        places[i] = min(places[i], limit)
    return [replace(line, y=round(y, 2)) for line, y in zip(lines, places, strict=True)]


def short(value: float) -> str:
    """A number at a tick, such as ``400k``."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")
