"""Studies are valid, run, and their pages in docs/ are what their scripts write."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.stem for path in (ROOT / "studies").glob("*.py"))
STUDIES = sorted((ROOT / "studies").glob("*/*.yaml"))
PAGES = sorted(path.parent.name for path in (ROOT / "docs").glob("*/cells.jsonl"))
MEASURED = sorted(path.parent.name for path in (ROOT / "docs").glob("*/results.json"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_can_be_imported(name: str, scripts: Callable[[str], ModuleType]) -> None:
    assert scripts(name).__doc__


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_studies_are_valid(study: Path, scripts: Callable[[str], ModuleType]) -> None:
    made = scripts("run").configs(study.parent.name, study.stem, 2)
    assert len({config.name for config in made.values()}) == len(made) > 0
    assert all(config.seeds == (0, 1) for config in made.values())


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_a_study_is_run_and_shown(
    scripts: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run, go on with another seed, and write the page; the page needs no runs once it has the cells."""
    run, name = scripts("run"), "known_answer"
    small = {"env_steps": 64, "worlds": 16, "fragment": 4, "evaluate_every": 0}
    about = run.study("commformer", name)
    about["base"] |= {"training": small, "evaluation": {"episodes": 8}}
    about["base"]["environment"]["members"] = 4
    about["teams"] = {"learned": {}}
    monkeypatch.setattr(run, "study", lambda *_: about)
    for seeds in (1, 2):
        run.work(run.configs("commformer", name, seeds)["learned"], tmp_path / "commformer")
    pages = scripts("pages")
    monkeypatch.setattr(pages, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(pages, "studies_of", lambda _: [name])
    page = scripts("commformer_page")
    page.main(tmp_path)
    written = (tmp_path / "docs" / "commformer.md").read_text()
    assert "| learned |" in written
    assert " of 8 (" in written, "four rows of two teams"
    page.main(tmp_path / "no runs")
    assert (tmp_path / "docs" / "commformer.md").read_text() == written


@pytest.mark.parametrize("folder", PAGES)
def test_pages_are_written_from_their_cells(
    folder: str, scripts: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in docs/ is what its script writes."""
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs)
    (docs / f"{folder}.md").unlink()
    monkeypatch.setattr(scripts("pages"), "DOCS", docs)
    scripts(f"{folder}_page").main(tmp_path / "no runs")
    assert (docs / f"{folder}.md").read_text() == (ROOT / "docs" / f"{folder}.md").read_text()


@pytest.mark.parametrize("page", MEASURED)
def test_measured_pages_are_written_from_their_results(
    page: str, scripts: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = scripts(f"{page}_page")
    monkeypatch.setattr(script, "DOCS", tmp_path)
    shutil.copytree(ROOT / "docs" / page, tmp_path / page)
    script.main(tmp_path / "no runs", measuring=False)
    assert (tmp_path / f"{page}.md").read_text() == (ROOT / "docs" / f"{page}.md").read_text()


WRITE_UPS = {
    "threats_learned_page": ("edge_hijack", "gate_forcing", "backdoor"),
    "writeups_page": ("replay", "sybil", "learned_attackers"),
}


@pytest.mark.parametrize("script", WRITE_UPS)
def test_write_ups_are_written_from_their_cells(
    script: str, scripts: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts("pages"), "DOCS", tmp_path)
    shutil.copytree(ROOT / "docs" / "threats", tmp_path / "threats")
    for name in WRITE_UPS[script]:
        (tmp_path / "threats" / f"{name}.md").unlink()
    scripts(script).main()
    for name in WRITE_UPS[script]:
        page = (ROOT / "docs" / "threats" / f"{name}.md").read_text()
        assert (tmp_path / "threats" / f"{name}.md").read_text() == page
