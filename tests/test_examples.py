"""Examples run, and the README shows them as they are."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from agentcomm import registry
from agentcomm.assembly import make_policy, make_world
from agentcomm.config import Choice, load
from agentcomm.conformance import check_attack, check_channel, check_policy

ROOT = Path(__file__).parent.parent
STUDIES = sorted((ROOT / "examples").glob("*/*.yaml"))
PAGES = sorted(path.parent.name for path in (ROOT / "docs").glob("*/cells.jsonl"))
MEASURED = sorted(path.parent.name for path in (ROOT / "docs").glob("*/results.json"))
CONFIGS = [*sorted((ROOT / "examples").glob("*.yaml")), ROOT / "agentcomm" / "demo.yaml"]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Gives a script of the examples as a module; their folder is where they find each other."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    yield importlib.import_module
    for name in (
        "studies",
        "pages",
        "commformer_page",
        "paths_page",
        "covert_page",
        "eavesdrop_page",
        "threats_learned",
        "threats_learned_page",
        "threats",
        "threats_page",
        "writeups_page",
        "attackers",
    ):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_example_configs_are_valid(path: Path) -> None:
    assert load(path).name == path.stem


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_studies_are_valid(study: Path, scripts: Callable[[str], ModuleType]) -> None:
    made = scripts("studies").configs(study.parent.name, study.stem, 2)
    assert len({config.name for config in made.values()}) == len(made) > 0
    assert all(config.seeds == (0, 1) for config in made.values())


@pytest.mark.ray
def test_a_study_is_run_and_shown(
    scripts: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run, go on with another seed, and write the page; the page needs no runs once it has the cells."""
    studies, name = scripts("studies"), "known_answer"
    small = {"env_steps": 64, "worlds": 16, "fragment": 4, "evaluate_every": 0}
    about = studies.study("commformer", name)
    about["base"] |= {"training": small, "evaluation": {"episodes": 8}}
    about["base"]["environment"]["members"] = 4
    about["teams"] = {"learned": {}}
    monkeypatch.setattr(studies, "study", lambda *_: about)
    for seeds in (1, 2):
        studies.work(studies.configs("commformer", name, seeds)["learned"], tmp_path / "commformer")
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


def documented(name: str, number: int, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that the documentation shows as its code block of that number."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    code = (ROOT / "docs" / "adding.md").read_text().split("```python\n")[number].partition("```")[0]
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(code, "docs/adding.md", "exec"), module.__dict__)
    return module


def test_the_attack_in_the_documentation_keeps_its_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    check_attack(documented("flip", 1, monkeypatch).Flip, {"probability": 1.0})


def test_the_channel_in_the_documentation_keeps_its_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    check_channel(documented("curfew", 2, monkeypatch).Curfew, {"day": 2})


def test_the_policy_in_the_documentation_keeps_its_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    documented("loudest", 3, monkeypatch)
    choice = Choice(name="loudest", width=16, topology={"kind": "random"})  # type: ignore[call-arg]
    where = Choice(name="predator_capture_prey", max_steps=8)  # type: ignore[call-arg]
    check_policy(lambda world: make_policy(choice, world), lambda count: make_world(where, count))


@pytest.mark.ray
def test_the_ten_lines_run_and_stand_in_the_readme(tmp_path: Path) -> None:
    example = ROOT / "examples" / "ten_lines.py"
    code = example.read_text().partition('"""\n\n')[2]
    assert code in (ROOT / "README.md").read_text()
    done = subprocess.run([sys.executable, example], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (tmp_path / "runs" / "ten-lines" / "report.html").exists()
