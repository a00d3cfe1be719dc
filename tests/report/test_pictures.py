"""Pictures for papers: complete, well-formed, and the same bytes for the same cells."""

from pathlib import Path
from xml.etree import ElementTree

import made_grids
import pytest
import synthetic

import agentcomm
from agentcomm.base.errors import ConfigError, FileError, RunError
from agentcomm.report.drawing import Drawing


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = made_grids.cells(made_grids.ATTACKS[1:4] + made_grids.ATTACKS[8:], made_grids.DEFENSES[2:5])
    return synthetic.write_run(tmp_path_factory.mktemp("runs") / "drawn", rows=rows)


def test_every_chart_of_the_page_is_a_file(run: Path, tmp_path: Path) -> None:
    paths = agentcomm.pictures(run, tmp_path / "figures")
    names = [path.name for path in paths]
    assert len(set(names)) == len(names)
    for kind in ("heatmap", "budget", "pareto", "detector", "graph", "gates", "learning"):
        assert any(name.startswith(kind) for name in names), kind
    for path in paths:
        picture = ElementTree.fromstring(path.read_text())
        assert picture.find("{http://www.w3.org/2000/svg}title") is not None
        assert "nan" not in path.read_text()
    before = {path: path.read_bytes() for path in paths}
    assert {path: path.read_bytes() for path in agentcomm.pictures(run, tmp_path / "figures")} == before


def test_drawings_become_png_and_safe_svg() -> None:
    drawing = Drawing(40, 20, "a < b & \x1b")
    drawing.path("M0 0L50 50Q60 60 100 0h-10l5 5Z", lambda x, y: (x / 4, y / 8), stroke="#000000", dash=(2.0, 1.0))
    drawing.circle(10, 10, 3, fill="#ff0000", opacity=0.5)
    drawing.text(20, 10, "$x_1$ </text>\x1b", anchor="middle", bold=True)
    text = drawing.svg().decode()
    assert ElementTree.fromstring(text).attrib["viewBox"] == "0 0 40 20"
    assert "M0 0L12.5 6.25Q15 7.5 25 0L22.5 0L23.75 0.62Z" in text
    assert "\x1b" not in text
    png = drawing.png()
    assert png.startswith(b"\x89PNG")
    assert png == drawing.png()


def test_what_cannot_be_drawn_says_why(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="format: must be svg or png"):
        agentcomm.pictures(run, tmp_path, "gif")  # type: ignore[arg-type]
    with pytest.raises(RunError, match="no run at"):
        agentcomm.pictures(tmp_path / "none", tmp_path)
    with pytest.raises(FileError, match="--pictures FOLDER"):
        agentcomm.pictures(run, run / "config.yaml")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(FileError, match="needs matplotlib"):
        agentcomm.pictures(run, tmp_path, "png")
