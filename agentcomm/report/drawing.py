"""Drawings of paths and labels, written as SVG or, by matplotlib, as PNG; the same drawing gives the same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from xml.sax.saxutils import escape

from agentcomm.base.errors import FileError
from agentcomm.base.text import visible

INK, SOFT, GRID, PAPER = "#191c20", "#565d66", "#dfe1e0", "#ffffff"
FONT = "Helvetica, Arial, sans-serif"
DPI = 300  # of PNG
ROUND = 0.5523  # control points of a quarter of a circle by a cubic curve
COMMAND = re.compile(r"([MLQCHVhvlZ])|(-?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?)")

Anchor = Literal["start", "middle", "end"]
Step = tuple[str, tuple[float, ...]]  # M, L, Q, C or Z with absolute coordinates


@dataclass(frozen=True)
class Shape:
    """A path.

    Attributes:
        steps: Its commands.
        stroke: Color of its line; empty for none.
        fill: Color of its area; empty for none.
        weight: Width of its line in pt.
        dash: Lengths of dashes and gaps in pt; empty for a solid line.
        opacity: From 0 to 1.
    """

    steps: tuple[Step, ...]
    stroke: str = ""
    fill: str = ""
    weight: float = 1.0
    dash: tuple[float, ...] = ()
    opacity: float = 1.0


@dataclass(frozen=True)
class Label:
    """A text at (x, y), the end of its baseline that ``anchor`` names."""

    x: float
    y: float
    text: str
    size: float = 8.0
    anchor: Anchor = "start"
    color: str = INK
    bold: bool = False


@dataclass
class Drawing:
    """A drawing in points of 1/72 inch, with y downwards.

    Attributes:
        width: Its width.
        height: Its height.
        title: What it shows, for those who cannot see it.
        items: Shapes and labels, later ones above.
    """

    width: float
    height: float
    title: str
    items: list[Shape | Label] = field(default_factory=list)

    def rect(self, x: float, y: float, width: float, height: float, **style: Any) -> None:
        """Add a rectangle."""
        corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
        self.items.append(Shape((*polygon(corners),), **style))

    def line(self, x: float, y: float, to_x: float, to_y: float, **style: Any) -> None:
        """Add a straight line."""
        self.items.append(Shape((("M", (x, y)), ("L", (to_x, to_y))), **style))

    def circle(self, x: float, y: float, r: float, **style: Any) -> None:
        """Add a circle."""
        c = ROUND * r
        quarters = (
            (x + r, y + c, x + c, y + r, x, y + r),
            (x - c, y + r, x - r, y + c, x - r, y),
            (x - r, y - c, x - c, y - r, x, y - r),
            (x + c, y - r, x + r, y - c, x + r, y),
        )
        self.items.append(Shape((("M", (x + r, y)), *(("C", q) for q in quarters), ("Z", ())), **style))

    def path(self, path: str, place: Callable[[float, float], tuple[float, float]], **style: Any) -> None:
        """Add an SVG path of a chart.

        Args:
            path: With the commands M, L, Q, H, h, l and Z.
            place: From the chart's coordinates to those of the drawing.
            style: Attributes of the shape.
        """
        self.items.append(Shape(tuple(_placed(path, place)), **style))

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Add a label."""
        self.items.append(Label(x, y, visible(text), **style))

    def svg(self) -> bytes:
        """The drawing as an SVG file."""
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(self.width)}pt" height="{_n(self.height)}pt"'
            f' viewBox="0 0 {_n(self.width)} {_n(self.height)}" font-family="{FONT}" role="img">',
            f"<title>{escape(visible(self.title))}</title>",
            f'<rect width="100%" height="100%" fill="{PAPER}"/>',
            *(_shape(item) if isinstance(item, Shape) else _label(item) for item in self.items),
            "</svg>",
        ]
        return ("\n".join(lines) + "\n").encode()

    def png(self) -> bytes:
        """The drawing as a PNG file of 300 dots per inch.

        Raises:
            FileError: If matplotlib is not installed.
        """
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            raise FileError(
                "--format png: needs matplotlib; install it (pip install matplotlib), or use --format svg"
            ) from None
        figure = Figure((self.width / 72, self.height / 72), DPI, facecolor=PAPER)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, self.width), ylim=(self.height, 0))
        axes.set_axis_off()
        for number, item in enumerate(self.items):
            _add(axes, item, number)
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": None})
        return file.getvalue()


def polygon(corners: Sequence[tuple[float, float]]) -> list[Step]:
    """A closed path through some points."""
    return [("M", corners[0]), *(("L", corner) for corner in corners[1:]), ("Z", ())]


def _placed(path: str, place: Callable[[float, float], tuple[float, float]]) -> list[Step]:
    """The commands of an SVG path, with absolute coordinates of the drawing."""
    steps: list[Step] = []
    command = ""
    numbers: list[float] = []
    at = (0.0, 0.0)
    needs = {"M": 2, "L": 2, "l": 2, "Q": 4, "C": 6, "H": 1, "h": 1, "V": 1, "v": 1}
    for letter, digits in COMMAND.findall(path):
        if letter:
            command, numbers = letter, []
            if letter == "Z":
                steps.append(("Z", ()))
            continue
        numbers.append(float(digits))
        if len(numbers) < needs[command]:
            continue
        points = _absolute(command, numbers, at)
        at, numbers = points[-1], []
        kind = {"M": "M", "Q": "Q", "C": "C"}.get(command, "L")
        steps.append((kind, tuple(value for point in points for value in place(*point))))
    return steps


def _absolute(command: str, numbers: Sequence[float], at: tuple[float, float]) -> list[tuple[float, float]]:
    if command in "Hh":
        return [(numbers[0] + (at[0] if command == "h" else 0.0), at[1])]
    if command in "Vv":
        return [(at[0], numbers[0] + (at[1] if command == "v" else 0.0))]
    if command == "l":
        return [(at[0] + numbers[0], at[1] + numbers[1])]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _n(value: float) -> str:
    """A number with at most two decimals, and no negative zero."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) >= 0.005 else "0"


def _shape(shape: Shape) -> str:
    steps = "".join(f"{command}{' '.join(map(_n, at))}" for command, at in shape.steps)
    about = f'd="{steps}" fill="{shape.fill or "none"}"'
    if shape.stroke:
        about += (
            f' stroke="{shape.stroke}" stroke-width="{_n(shape.weight)}" stroke-linecap="round" stroke-linejoin="round"'
        )
    if shape.dash:
        about += f' stroke-dasharray="{" ".join(map(_n, shape.dash))}"'
    if shape.opacity < 1:
        about += f' opacity="{_n(shape.opacity)}"'
    return f"<path {about}/>"


def _label(label: Label) -> str:
    about = f'x="{_n(label.x)}" y="{_n(label.y)}" font-size="{_n(label.size)}" fill="{label.color}"'
    if label.anchor != "start":
        about += f' text-anchor="{label.anchor}"'
    if label.bold:
        about += ' font-weight="bold"'
    return f"<text {about}>{escape(label.text)}</text>"


def _add(axes: Any, item: Shape | Label, order: int) -> None:
    """Add an item to the axes of matplotlib, whose units are those of the drawing."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if isinstance(item, Label):
        weight = "bold" if item.bold else "normal"
        side = {"start": "left", "middle": "center", "end": "right"}[item.anchor]
        # Dollar signs are no formulas.
        text = item.text.replace("$", r"\$")
        axes.text(
            item.x, item.y, text, size=item.size, color=item.color, ha=side, va="baseline", weight=weight, zorder=order
        )
        return
    codes = {"M": (Path.MOVETO,), "L": (Path.LINETO,), "Q": (Path.CURVE3,) * 2, "C": (Path.CURVE4,) * 3}
    kinds: list[Any] = []
    points: list[tuple[float, ...]] = []
    for command, at in item.steps:
        kinds += codes.get(command, (Path.CLOSEPOLY,))
        points += zip(at[::2], at[1::2], strict=True) if at else [points[0]]
    patch = PathPatch(
        Path(points, kinds),
        facecolor=item.fill or "none",
        edgecolor=item.stroke or "none",
        linewidth=item.weight if item.stroke else 0.0,
        linestyle=(0, item.dash) if item.dash else "solid",
        capstyle="round",
        joinstyle="round",
        alpha=item.opacity,
        zorder=order,
    )
    axes.add_patch(patch)
