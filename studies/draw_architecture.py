"""Draws docs/architecture.svg: the rooms of the testbed, and which of them import which.

python studies/draw_architecture.py    reads the source tree and writes the picture
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from imports import import_graph

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
# From what everything needs to what nothing needs: a room imports rooms further up in this list only.
LAYERS = (
    ("base",),
    ("contracts",),
    ("wire",),
    ("guards",),
    ("directory", "network"),
    ("step",),
    ("runs",),
    ("evaluation",),
    ("training", "report"),
    ("export",),
    ("reports",),
    ("api",),
    ("cli",),
)
# Beside the layers: plug-in packages, and what is inside of agentcomm/ but in no layer. Column, and middle in layers.
BESIDE = {
    "policies": ("left", 1.8),
    "attacks": ("left", 3.6),
    "envs": ("left", 5.4),
    "channels": ("right", 1.2),
    "codecs": ("right", 2.4),
    "defenses": ("right", 3.6),
    "metrics": ("right", 4.8),
    "statistics": ("right", 6.0),
    "pettingzoo": ("right", 7.2),
    "conformance": ("right", 8.4),
}
EVERYWHERE = ("base", "contracts")  # imported by all rooms: their arrows are drawn for plug-ins only
PLUG_INS = ("envs", "policies", "attacks", "channels", "codecs", "defenses", "metrics")

WIDTH, MARGIN, SIDE, ROW, BOX, TOP, GAP = 1200, 36, 150, 86, 48, 84, 130
COLORS = {"layer": ("#e9f0f7", "#2b5d8a"), "plug-in": ("#fbefe8", "#c2572b"), "beside": ("#ebf4ec", "#4d8b57")}
ARROW, UPWARD = "#5f7488", "#cc2222"


@dataclass(frozen=True)
class Room:
    """A room: its files and their lines, and the box it is drawn as."""

    name: str
    files: int
    lines: int
    x: float
    y: float
    width: float
    kind: str

    @property
    def middle(self) -> float:
        """Horizontal middle of the box."""
        return self.x + self.width / 2


def room_of(module: str) -> str:
    """The folder below agentcomm/, or the package of a plug-in; files at the top of agentcomm/ are rooms by name."""
    parts = module.split(".")
    return parts[0] if parts[0] != "agentcomm" else parts[1] if len(parts) > 1 else ""


def survey(root: Path) -> tuple[dict[str, tuple[int, int]], dict[tuple[str, str], int]]:
    """Files and lines by room, and import statements by pair of rooms."""
    places = [root / "agentcomm", *(root / name for name in ("envs", "policies", "attacks"))]
    texts = {path.relative_to(root).as_posix(): path.read_text("utf-8") for top in places for path in top.rglob("*.py")}
    graph = import_graph({name: ast.parse(text) for name, text in texts.items()}, with_types=True)
    sizes: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for name, text in texts.items():
        room = room_of(name.removesuffix(".py").replace("/__init__", "").replace("/", "."))
        files, lines = sizes[room]
        sizes[room] = files + (not name.endswith("__init__.py")), lines + len(text.splitlines())
    arrows: Counter[tuple[str, str]] = Counter()
    for module, targets in graph.items():
        for target, count in targets.items():
            if room_of(module) != room_of(target):
                arrows[room_of(module), room_of(target)] += count
    return {room: size for room, size in sorted(sizes.items()) if room}, dict(sorted(arrows.items()))


def level_of(room: str) -> int | None:
    """The layer of a room, 0 at the bottom; None for rooms beside the layers."""
    return next((level for level, names in enumerate(LAYERS) if room in names), None)


def place(sizes: dict[str, tuple[int, int]]) -> dict[str, Room]:
    """Boxes of rooms: wider with more lines, layers from the bottom up."""
    rooms: dict[str, Room] = {}

    def row(level: float) -> float:
        return TOP + (len(LAYERS) - 1 - level) * ROW

    for level, names in enumerate(LAYERS):
        here = [name for name in names if name in sizes]
        widths = [min(330, 130 + sizes[name][1] / 18) for name in here]
        # Rows lean to one side and the other in turn, so that arrows past a row do not all go behind its box.
        lean = (0 if len(here) > 1 else 140 if level % 2 else -140) * (level > 1)
        x = WIDTH / 2 + lean - (sum(widths) + GAP * (len(here) - 1)) / 2
        for name, width in zip(here, widths, strict=True):
            rooms[name] = Room(name, *sizes[name], x, row(level), width, "layer")
            x += width + GAP
    for name, (side, level) in BESIDE.items():
        if name in sizes:
            x = MARGIN if side == "left" else WIDTH - MARGIN - SIDE
            kind = "plug-in" if name in PLUG_INS else "beside"
            rooms[name] = Room(name, *sizes[name], x, row(level), SIDE, kind)
    return rooms


def shown(arrows: Iterable[tuple[str, str]], rooms: dict[str, Room]) -> Iterator[tuple[Room, Room, bool]]:
    """The arrows that are drawn: from, to, and whether an import points up, against the layers."""
    for source, target in arrows:
        if source in rooms and target in rooms:
            here, there = level_of(source), level_of(target)
            upward = there is not None and (here is not None and there >= here)
            if upward or target not in EVERYWHERE or (source in PLUG_INS and target == "contracts"):
                yield rooms[source], rooms[target], upward


def is_across(one: Room, other: Room) -> bool:
    """Whether an arrow goes from or to a box beside the layers."""
    return one.kind != "layer" or other.kind != "layer"


def ports(pairs: list[tuple[Room, Room, bool]]) -> dict[tuple[str, str], tuple[float, ...]]:
    """Where arrows leave and arrive, as x0, y0, x1, y1: spread along each edge of a box."""
    ends: defaultdict[tuple[str, str], list[tuple[float, tuple[str, str], int]]] = defaultdict(list)
    for one, other, _ in pairs:
        across = is_across(one, other)
        for room, its, end in ((one, other, 0), (other, one, 1)):
            if across:
                outward = room.middle > WIDTH / 2
                edge = "right" if (outward if its.x == room.x else its.middle > room.middle) else "left"
                key = its.y
            else:
                edge, key = ("bottom", its.middle) if its.y > room.y else ("top", its.middle)
            ends[room.name, edge].append((key, (one.name, other.name), end))
    by_name = {room.name: room for one, other, _ in pairs for room in (one, other)}
    found: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(lambda: [(0, 0), (0, 0)])
    for (name, edge), at in ends.items():
        room = by_name[name]
        for number, (_, pair, end) in enumerate(sorted(at)):
            share = (number + 1) / (len(at) + 1)
            if edge in ("left", "right"):
                found[pair][end] = (room.x + room.width * (edge == "right"), room.y + BOX * share)
            else:
                found[pair][end] = (room.x + room.width * (0.08 + 0.84 * share), room.y + BOX * (edge == "bottom"))
    return {pair: (*start, *stop) for pair, (start, stop) in found.items()}


def draw(sizes: dict[str, tuple[int, int]], arrows: dict[tuple[str, str], int]) -> str:
    """The picture as SVG."""
    rooms = place(sizes)
    pairs = list(shown(arrows, rooms))
    where = ports(pairs)
    height = TOP + len(LAYERS) * ROW + 40
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="Helvetica, Arial,'
        ' sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        "<defs>",
        *(
            f'<marker id="{name}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="9" markerHeight="9"'
            f' markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0.5 8 4 0 7.5z" fill="{color}"/></marker>'
            for name, color in (("head", ARROW), ("red", UPWARD))
        ),
        "</defs>",
        *_headings([room for room in sizes if room not in rooms and sizes[room][0]]),
    ]
    for one, other, upward in sorted(pairs, key=lambda pair: pair[2]):
        out.append(_arrow(one, other, where[one.name, other.name], arrows[one.name, other.name], upward))
    out += [_box(room) for room in rooms.values()]
    out.append("</svg>\n")
    return "\n".join(out)


def _headings(missing: list[str]) -> Iterator[str]:
    style = 'font-size="15" font-weight="bold" fill="#333"'
    small = 'font-size="12" fill="#666"'
    for x, anchor, title, about in (
        (MARGIN, "start", "plug-in packages", "found through entry points"),
        (WIDTH / 2, "middle", "agentcomm/, in layers", "imports point down; a red arrow points up"),
        (WIDTH - MARGIN, "end", "agentcomm/, beside the layers", "its own plug-ins, PettingZoo, checks"),
    ):
        yield f'<text x="{x:g}" y="34" text-anchor="{anchor}" {style}>{title}</text>'
        yield f'<text x="{x:g}" y="54" text-anchor="{anchor}" {small}>{about}</text>'
    note = "Every room imports base and contracts; those arrows are drawn for plug-ins only. Width: import statements."
    note += f" Not drawn: {', '.join(missing)}." if missing else ""
    yield f'<text x="{WIDTH / 2:g}" y="{TOP + len(LAYERS) * ROW + 12}" text-anchor="middle" {small}>{note}</text>'


def _arrow(one: Room, other: Room, at: tuple[float, ...], count: int, upward: bool) -> str:
    x0, y0, x1, y1 = at
    if one.x == other.x:  # in one column: around the boxes between them
        out = x0 + (26 if x0 > WIDTH / 2 else -26)
        path = f"M{x0:.0f} {y0:.0f}C{out:.0f} {y0:.0f} {out:.0f} {y1:.0f} {x1:.0f} {y1:.0f}"
    elif is_across(one, other):
        bend = (x1 - x0) * 0.45
        path = f"M{x0:.0f} {y0:.0f}C{x0 + bend:.0f} {y0:.0f} {x1 - bend:.0f} {y1:.0f} {x1:.0f} {y1:.0f}"
    else:
        bend = (y1 - y0) * 0.5
        path = f"M{x0:.0f} {y0:.0f}C{x0:.0f} {y0 + bend:.0f} {x1:.0f} {y1 - bend:.0f} {x1:.0f} {y1:.0f}"
    color, head = (UPWARD, "red") if upward else (ARROW, "head")
    width = min(6.0, 0.8 + 0.32 * count)
    about = f'data-from="{one.name}" data-to="{other.name}" data-imports="{count}"'
    return (
        f'<path {about} d="{path}" fill="none" stroke="{color}" stroke-width="{width:.1f}" stroke-opacity="0.6"'
        f' marker-end="url(#{head})"><title>{one.name} imports {other.name}: {count}</title></path>'
    )


def _box(room: Room) -> str:
    fill, line = COLORS[room.kind]
    about = f'data-room="{room.name}" data-files="{room.files}" data-lines="{room.lines}"'
    size = f"{room.files} files, {room.lines:,} lines" if room.files > 1 else f"{room.lines:,} lines"
    x = f'x="{room.middle:.0f}" text-anchor="middle"'
    return (
        f'<g {about}><rect x="{room.x:.0f}" y="{room.y:.0f}" width="{room.width:.0f}" height="{BOX}" rx="7"'
        f' fill="{fill}" stroke="{line}" stroke-width="1.4"/>'
        f'<text {x} y="{room.y + 20:.0f}" font-size="15" font-weight="bold" fill="{line}">{escape(room.name)}</text>'
        f'<text {x} y="{room.y + 37:.0f}" font-size="11" fill="#555">{size}</text></g>'
    )


def main() -> None:
    """Write the picture."""
    PICTURE.write_text(draw(*survey(ROOT)), encoding="utf-8")
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    main()
