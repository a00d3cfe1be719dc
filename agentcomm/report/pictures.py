"""Pictures for papers: the charts of the page as files of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from agentcomm.base.errors import FileError
from agentcomm.base.files import make_folder, write_bytes
from agentcomm.report import budgets, defenses, detectors, gates
from agentcomm.report.charts import Chart, Tick, learning_charts
from agentcomm.report.claims import Claims
from agentcomm.report.defenses import Front
from agentcomm.report.drawing import GRID, INK, PAPER, SOFT, Drawing
from agentcomm.report.graphs import Picture
from agentcomm.report.graphs import pictures as graph_pictures
from agentcomm.report.heat import Heatmap, HeatRow
from agentcomm.report.load import RunData
from agentcomm.report.results import NONE, Results

Format = Literal["svg", "png"]
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 330.0, 34.0, 104.0, 26.0, 34.0  # of a chart and the margins of its plot, in pt
PLOT = 150.0  # height of the plot
WIDE = 0.56  # mean width of a letter, in sizes of the font
TEAM, GOOD, BAD = "#0b6e69", (58, 166, 160), (238, 143, 92)
# Line of each style: color and dashes, distinct without colors, too.
LINES: dict[str, tuple[str, tuple[float, ...]]] = {
    "team": (TEAM, ()),
    "control": ("#6b5b95", (5, 3)),
    "attacked": ("#c2410c", (1.5, 3)),
    "chance": (SOFT, (1, 3)),
    "s0": (TEAM, ()),
    "s1": ("#c2410c", (5, 3)),
    "s2": ("#6b5b95", (1.5, 3)),
    "s3": ("#8a6d00", (7, 2, 1.5, 2)),
    "s4": ("#1d5fa8", (3, 2)),
    "s5": ("#a3346f", (9, 3)),
}


def write_pictures(run: RunData, folder: Path, format: Format = "svg") -> list[Path]:
    """Write all pictures of a run, atomically replacing older ones; the same cells give the same bytes.

    Args:
        run: The run.
        folder: Folder of the files, which is made.
        format: ``svg``, or ``png`` with 300 dots per inch, which needs matplotlib.

    Raises:
        FileError: If a file cannot be written, or matplotlib is missing.
    """
    drawn = [(name, drawing.png() if format == "png" else drawing.svg()) for name, drawing in drawings(run)]
    try:
        make_folder(folder)
        paths = []
        for name, content in drawn:
            paths.append(folder / f"{name}.{format}")
            write_bytes(paths[-1], content)
    except FileError as error:
        raise FileError(f"{error}; put the pictures elsewhere with --pictures FOLDER") from None
    return paths


def drawings(run: RunData) -> list[tuple[str, Drawing]]:
    """All pictures of a run, with names that are their file names without the ending."""
    results = Results(run.cells, run.conditions)
    heat = Heatmap(results, Claims(results))
    links, flows, agents = gates.graphs(results)
    timeline = gates.timeline(results)
    found = [
        *(
            ("heatmap", label, heatmap(heat.rows(), results.defenses, n, label))
            for n, (_, label) in enumerate(heat.measures)
        ),
        *_charts("budget", budgets.curves(results)),
        *(("pareto", f"{front.title} {front.x_label}", pareto(front)) for front in defenses.fronts(results)),
        *_charts("detector", detectors.curves(detectors.detections(results))),
        *(("graph", picture.title, graph(picture)) for picture in graph_pictures(links, agents, flows)),
        *_charts("gates", [timeline] if timeline else []),
        *_charts("learning", learning_charts(run.curves, results.primary.key)),
    ]
    return list(_named(found))


def _charts(kind: str, charts: Iterable[Chart]) -> list[tuple[str, str, Drawing]]:
    return [(kind, chart.title, line_chart(chart)) for chart in charts]


def _named(found: Iterable[tuple[str, str, Drawing]]) -> Iterator[tuple[str, Drawing]]:
    """File names from kinds and titles, each once."""
    taken: set[str] = set()
    for kind, title, drawing in found:
        words = f"{kind} {title}".lower().replace(f"{kind} {kind}", kind)
        words = re.sub(r"[^a-z0-9]+", "-", words).strip("-")[:80].strip("-")
        name = next(n for n in (words, *(f"{words}-{i}" for i in range(2, 10**4))) if n not in taken)
        taken.add(name)
        yield name, drawing


def line_chart(chart: Chart) -> Drawing:
    """Lines against one axis."""
    drawing = _axes(chart.title, chart.summary, chart.x_label, chart.x_ticks, chart.y_ticks)
    for line in chart.lines:
        color, dash = LINES.get(line.style, LINES["team"])
        style = {"weight": 0.6, "opacity": 0.45} if line.faint else {"weight": 1.5, "dash": dash}
        drawing.path(line.path, _in_plot, stroke=color, **style)
    for line in chart.lines:
        if line.label:
            x, y = WIDTH - RIGHT + 7, TOP + PLOT * line.y / 100 + 2.5
            color = LINES.get(line.style, LINES["team"])[0]
            drawing.text(x, y, f"{_cut(line.label, 16)} {line.last}", size=7.5, color=color)
    return drawing


def pareto(front: Front) -> Drawing:
    """Points, and the line through those that no other one dominates."""
    drawing = _axes(front.title, front.summary, front.x_label, front.x_ticks, front.y_ticks, front.y_label)
    drawing.path(front.path, _in_plot, stroke=TEAM, weight=1.2)
    for number, point in enumerate(sorted(front.points, key=lambda point: point.x)):
        x, y = _in_plot(point.x, point.y)
        drawing.circle(x, y, 3, stroke=TEAM, fill=TEAM if point.front else PAPER, weight=1.2)
        left = point.x > 55  # beyond, a label leaves the picture
        above = y - 5 if number % 2 == 0 else y + 11  # neighbors have room for their labels
        drawing.text(x + (-3 if left else 3), above, _cut(point.name, 34), size=7.5, anchor="end" if left else "start")
    return drawing


def graph(picture: Picture) -> Drawing:
    """Agents on a ring and arrows between them."""
    left, top, width, height = map(float, picture.view.split())
    scale = 250 / width

    def place(x: float, y: float) -> tuple[float, float]:
        return (x - left) * scale, (y - top) * scale + 18

    drawing = Drawing(250, height * scale + 22, picture.summary)
    drawing.text(125, 12, picture.title, size=9, anchor="middle", bold=True)
    for edge in picture.edges:
        opacity = 0.35 + 0.65 * edge.share
        drawing.path(edge.path, place, stroke=TEAM, weight=edge.width * scale, opacity=opacity)
        tip = f"M{'L'.join(corner.replace(',', ' ') for corner in edge.head.split())}Z"
        drawing.path(tip, place, fill=TEAM, opacity=opacity)
    for node in picture.nodes:
        drawing.path(_outline(node.shape, node.x, node.y, picture.size), place, stroke=INK, fill=PAPER, weight=1)
        x, y = place(node.x, node.y + 2.2)
        drawing.text(x, y, node.short, size=6.4 * scale, anchor="middle", bold=True)
        if picture.wide:
            x, y = place(node.label_x, node.label_y)
            drawing.text(x, y, node.name, size=4.6 * scale, anchor=node.anchor, color=SOFT)
    return drawing


def heatmap(rows: list[HeatRow], names: list[str], measure: int, label: str) -> Drawing:
    """Attacks by defenses, colored from the floor to the clean score."""
    side = min(230.0, 7.5 * WIDE * max(len(row.label) for row in rows) + 14)
    wide, high, top = 74.0, 27.0, 44.0
    width = side + wide * len(names) + 8
    drawing = Drawing(width, top + high * len(rows) + 8, f"{label} by attack and defense")
    drawing.text(8, 14, label, size=9, bold=True)
    for column, name in enumerate(names):
        words = "no defense" if name == NONE else name.replace("+", " + ")
        drawing.text(side + wide * (column + 0.5), top - 7, _cut(words, 18), size=7.5, anchor="middle", color=SOFT)
    for number, row in enumerate(rows):
        y = top + high * number
        drawing.text(
            side - 6, y + high / 2 + 2.5, _cut(row.label, int((side - 14) / 7.5 / WIDE) + 1), size=7.5, anchor="end"
        )
        for column, cell in enumerate(row.cells):
            x = side + wide * column
            face = cell.faces[measure] if cell.status == "ok" else None
            fill = PAPER if face is None or face.level is None else _fill(face.level)
            drawing.rect(x + 1, y + 1, wide - 2, high - 2, fill=fill, stroke=GRID, weight=0.6)
            words = face.number if face else {"missing": "\N{EN DASH}"}.get(cell.status, cell.status)
            drawing.text(x + wide / 2, y + (12 if face and face.interval else 16), words, size=8.5, anchor="middle")
            if face and face.interval:
                drawing.text(x + wide / 2, y + 21, face.interval, size=6, anchor="middle", color=INK)
    return drawing


def _axes(title: str, summary: str, x_label: str, xs: list[Tick], ys: list[Tick], y_label: str = "") -> Drawing:
    """A drawing with title, grid and ticks."""
    drawing = Drawing(WIDTH, TOP + PLOT + BOTTOM, summary)
    drawing.text(4, 13, f"{_cut(title, 62)}{f' ({y_label})' if y_label else ''}", size=8.5, bold=True)
    right, bottom = WIDTH - RIGHT, TOP + PLOT
    for tick in ys:
        y = TOP + PLOT * tick.at / 100
        drawing.line(LEFT, y, right, y, stroke=GRID, weight=0.6)
        drawing.text(LEFT - 5, y + 2.5, tick.text, size=7, anchor="end", color=SOFT)
    for tick in xs:
        x = LEFT + (right - LEFT) * tick.at / 100
        drawing.text(x, bottom + 12, tick.text, size=7, anchor="middle", color=SOFT)
    drawing.text((LEFT + right) / 2, bottom + 25, x_label, size=7.5, anchor="middle", color=SOFT)
    return drawing


def _in_plot(x: float, y: float) -> tuple[float, float]:
    """From percent of a plot to the drawing."""
    return LEFT + (WIDTH - RIGHT - LEFT) * x / 100, TOP + PLOT * y / 100


def _outline(shape: str, x: float, y: float, r: float) -> str:
    """The outline of a node as a path; circles have many corners."""
    corners = {
        "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
        "triangle": [(0, -1.15), (1.12, 0.8), (-1.12, 0.8)],
        "diamond": [(0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)],
        "hexagon": [(-1.05, 0), (-0.53, -0.9), (0.53, -0.9), (1.05, 0), (0.53, 0.9), (-0.53, 0.9)],
    }.get(shape)
    if corners is None:
        c = 0.5523
        arcs = ((1, c, c, 1, 0, 1), (-c, 1, -1, c, -1, 0), (-1, -c, -c, -1, 0, -1), (c, -1, 1, -c, 1, 0))
        curves = "".join("C" + " ".join(f"{v * r + (x, y)[i % 2]:.3f}" for i, v in enumerate(arc)) for arc in arcs)
        return f"M{x + r:.3f} {y:.3f}{curves}Z"
    return "M" + "L".join(f"{x + dx * r:.3f} {y + dy * r:.3f}" for dx, dy in corners) + "Z"


def _fill(level: float) -> str:
    """The color of a level from 0 (the floor) to 1 (clean): as far from white as the level is from the middle."""
    share = 0.62 * min(1.0, abs(level - 0.5) * 2)
    color = GOOD if level >= 0.5 else BAD
    return "#" + "".join(f"{round(255 + (c - 255) * share):02x}" for c in color)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"
