"""The picture in docs/architecture.svg shows the present tree."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
REDRAW = "run: python studies/draw_architecture.py"


def shown(picture: str) -> tuple[dict[str, tuple[int, int]], dict[tuple[str, str], int]]:
    """Files and lines by room, and imports by arrow, that a picture tells."""
    rooms = re.findall(r'data-room="(\w+)" data-files="(\d+)" data-lines="(\d+)"', picture)
    arrows = re.findall(r'data-from="(\w+)" data-to="(\w+)" data-imports="(\d+)"', picture)
    return {name: (int(files), int(lines)) for name, files, lines in rooms}, {(a, b): int(n) for a, b, n in arrows}


def test_the_picture_is_of_the_present_tree(scripts: Callable[[str], ModuleType]) -> None:
    """Rooms and arrows exactly; lines and imports about, so that not every edit asks for a new picture."""
    script = scripts("draw_architecture")
    rooms, arrows = shown(script.draw(*script.survey(ROOT)))
    drawn_rooms, drawn_arrows = shown(script.PICTURE.read_text(encoding="utf-8"))
    assert drawn_rooms.keys() == rooms.keys(), REDRAW
    assert drawn_arrows.keys() == arrows.keys(), REDRAW
    for name, (_, lines) in rooms.items():
        assert drawn_rooms[name][1] == pytest.approx(lines, rel=0.15, abs=50), f"lines of {name}; {REDRAW}"
    for pair, count in arrows.items():
        assert drawn_arrows[pair] == pytest.approx(count, rel=0.3, abs=4), f"imports {pair}; {REDRAW}"


def test_imports_against_the_layers_are_red(scripts: Callable[[str], ModuleType]) -> None:
    script = scripts("draw_architecture")
    sizes = dict.fromkeys(("base", "wire", "guards", "network", "attacks", "elsewhere"), (2, 100))
    down = {("guards", "wire"): 3, ("network", "guards"): 1, ("wire", "base"): 5, ("attacks", "network"): 1}
    up = {("wire", "guards"): 1, ("base", "wire"): 2}
    assert "url(#red)" not in script.draw(sizes, down)
    picture = script.draw(sizes, down | up)
    assert picture.count("url(#red)") == len(up)
    assert shown(picture)[1] == {pair: n for pair, n in (down | up).items() if pair != ("wire", "base")}
    assert "Not drawn: elsewhere." in picture
