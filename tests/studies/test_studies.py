"""Studies: their plan, their pages, and the published runs that the pages rest on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import made_cells
import pytest
import recompute
import yaml

from agentcomm import api
from agentcomm.base.errors import RunError
from agentcomm.evaluation.identity import Identities, cell_of, differences
from agentcomm.runs.config import load, parse
from agentcomm.runs.folder import create, open_run
from tests.small import as_initialized, untrained

ROOT = Path(__file__).parents[2]
RUNS, DOCS = ROOT / "studies" / "runs", ROOT / "docs"
SCRIPTS = sorted(path.stem for path in (ROOT / "studies").glob("*.py"))
WRITTEN = sorted(path.parent.name for path in DOCS.glob("*/numbers.json"))
PUBLISHED = sorted(path.parent.name for path in RUNS.glob("*/config.yaml"))
MOST_CLAIMS = 25  # of a page: Holm's correction of the smallest p of ten teams, 2 / 1024, stays below 5%
Scripts = Callable[[str], ModuleType]


@cache
def published_cells() -> recompute.Cells:
    return recompute.read_cells(RUNS)


@cache
def published_rows() -> dict[str, list[dict[str, Any]]]:
    files = {path.parent.name: path.read_text(encoding="utf-8") for path in RUNS.glob("*/cells.jsonl")}
    return {run: [json.loads(line) for line in files[run].splitlines()] for run in sorted(files)}


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_can_be_imported(name: str, scripts: Scripts) -> None:
    assert scripts(name).__doc__


def test_the_plan_is_about_teams_that_are_trained(scripts: Scripts) -> None:
    plan = scripts("plan")
    assert set(plan.RUNS) <= {path.stem for path in (ROOT / "studies" / "teams").glob("*.yaml")}
    cells = {cell for grids in plan.STUDIES.values() for grid in grids for cell in plan.cells(grid)}
    assert 100 < len(cells) < 1500, "two hours on two cores"
    assert set(plan.STUDIES) <= set(SCRIPTS)


def test_configs_of_teams_are_valid() -> None:
    for path in sorted((ROOT / "studies" / "teams").glob("*.yaml")):
        config = load(path)
        assert (config.name, config.training.threads is not None) == (path.stem, True)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are composed, but not drawn, which takes most of the time."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *args, **kwargs: None)


@pytest.fixture
def made_up(scripts: Scripts, tmp_path: Path, undrawn: None) -> tuple[Path, recompute.Cells]:
    """Pages of all studies, written from made-up cells, and those cells."""
    rows = made_cells.rows(scripts)
    cells, study = scripts("cells").Cells(rows), scripts("study")
    for name in scripts("plan").STUDIES:
        study.write(name, scripts(name).made, cells, tmp_path)
    by_key: recompute.Cells = {}
    for run, some in rows.items():
        for row in some:
            attack = (row["attack"] or {}).get("label", "none")
            key = (run, row["variant"], attack, row["defense_label"], row["conditions_label"])
            by_key.setdefault(key, {})[row["seed"]] = row
    return tmp_path, by_key


def test_numbers_of_made_up_cells_are_recomputed(made_up: tuple[Path, recompute.Cells], scripts: Scripts) -> None:
    """All pages can be written, every number is what the cells say, and changes are found."""
    docs, cells = made_up
    for name in scripts("plan").STUDIES:
        assert not recompute.errors(name, docs, cells), name
        assert len(json.loads((docs / name / "claims.json").read_text())) <= MOST_CLAIMS
    page = docs / "defenses.md"
    text = page.read_text(encoding="utf-8")
    assert "inconclusive: `abuse`" in text
    assert "failed: `cut`" in text
    row = next(line for line in text.splitlines() if line.startswith("| `noise` |"))
    other = next(line for line in text.splitlines() if line.startswith("| `drift` |"))
    changed = re.sub(r"\d\.\d\d", "9.99", row, count=1)
    for before, after in (
        (row, changed),
        (row, row.replace("noise", "drift")),
        (other, other.replace("drift", "noise")),
    ):
        page.write_text(text.replace(before, after), encoding="utf-8")
        assert recompute.errors("defenses", docs, cells), after
    claim = json.loads((docs / "defenses" / "claims.json").read_text())[0]
    sentence = next(claim[word] for word in ("above", "below", "neither") if claim[word] and claim[word] in text)
    page.write_text(text.replace(sentence, claim["above"] if sentence != claim["above"] else claim["below"]))
    assert recompute.errors("defenses", docs, cells)


@pytest.mark.usefixtures("undrawn")
def test_fewer_teams_than_ten_claim_nothing(scripts: Scripts, tmp_path: Path) -> None:
    cells = scripts("cells").Cells(made_cells.rows(scripts, seeds=4))
    scripts("study").write("budgets", scripts("budgets").made, cells, tmp_path)
    assert json.loads((tmp_path / "budgets" / "claims.json").read_text()) == []
    assert "so nothing is claimed" in (tmp_path / "budgets.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", WRITTEN)
def test_every_printed_number_is_what_the_cells_say(name: str) -> None:
    assert not recompute.errors(name, DOCS, published_cells())


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", WRITTEN)
def test_pages_are_what_their_scripts_write(name: str, scripts: Scripts, tmp_path: Path) -> None:
    scripts("study").write(name, scripts(name).made, scripts("cells").Cells(published_rows()), tmp_path)
    assert (tmp_path / f"{name}.md").read_text("utf-8") == (DOCS / f"{name}.md").read_text("utf-8")


@pytest.mark.parametrize("name", PUBLISHED)
def test_cells_of_published_runs_are_of_the_present_code_or_were_checked_with_it(name: str) -> None:
    """Evaluate them again with studies/run.py, or show with studies/checked.py that their numbers are the same."""
    run, checked = open_run(RUNS / name, trust=True), RUNS / name / "checked.json"
    identities = Identities(run)
    rows = {row["id"]: row for row in published_rows().get(name, ()) if not row.get("stale")}
    changed = [
        row["id"]
        for row in rows.values()
        if row["status"] != "failed" and differences(row["identity"], identities.of(cell_of(row)))
    ]
    if not changed:
        return
    assert checked.exists(), f"{len(changed)} cells are of other code, such as {changed[0]}"
    again = json.loads(checked.read_text(encoding="utf-8"))
    assert len(again) >= min(10, len(rows))
    for cell, identity in again.items():
        assert identity == identities.of(cell_of(rows[cell])), f"checked with other code: {cell}"
    for row in rows.values():
        assert row["identity"]["the team's policy"] == identities.of(cell_of(row))["the team's policy"], row["id"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_runs_tell_nothing_of_a_machine(name: str) -> None:
    kept = {"config.yaml", "cells.jsonl", "policy.json", "manifest.json"}
    files = [path for path in (RUNS / name).rglob("*") if path.name in kept]
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r'["\s](/|[A-Z]:\\)\w', text), path


def test_a_published_run_is_used_by_somebody_else(
    scripts: Scripts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluation and report of a published run need neither its checkpoints nor trust."""
    source = untrained(tmp_path / "mine", "evaluation.episodes=4")
    (source.path / "report.html").write_text("not published")
    target = scripts("publish").publish(source.path, tmp_path / "runs")
    assert sorted(path.name for path in target.iterdir()) == ["config.yaml", "teams"]
    assert str(tmp_path) not in "".join(path.read_text() for path in target.rglob("*.[jy]*"))
    monkeypatch.setenv("HOME", str(tmp_path / "somebody else"))
    rows = api.evaluate(target, ["drop"], [], progress=False)
    assert {row["status"] for row in rows} == {"ok"}
    assert api.report(target).exists()
    shutil.rmtree(source.policy("control", 0))
    with pytest.raises(RunError, match="no trained control-0"):
        scripts("publish").publish(source.path, tmp_path / "runs")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_planned_cell_can_be_evaluated(scripts: Scripts, tmp_path: Path) -> None:
    """On teams that are not trained, in a few episodes; the pages can be written from these cells."""
    plan, study, cells = scripts("plan"), scripts("study"), scripts("cells")
    for name in plan.RUNS:
        data = yaml.safe_load((ROOT / "studies" / "teams" / f"{name}.yaml").read_text(encoding="utf-8"))
        data |= {"seeds": [0], "evaluation": {"episodes": 4, "recordings": 0}}
        as_initialized(create(parse(data, name), tmp_path))
    scripts("run").evaluate(list(plan.STUDIES), 1, tmp_path)
    found = cells.Cells.read(tmp_path)
    wanted = {cell for grids in plan.STUDIES.values() for grid in grids for cell in plan.cells(grid)}
    assert {(*c[:3], plan.group_label(c[3]), cells.told(json.loads(c[4]))) for c in wanted} == {
        (run, variant, attack, defense, conditions) for run, variant, attack, defense, conditions in found.by_key
    }
    statuses = {row["status"]: row.get("error") for some in found.by_key.values() for row in some.values()}
    assert set(statuses) <= {"ok", "inconclusive"}, statuses
    for name in plan.STUDIES:
        study.write(name, scripts(name).made, found, tmp_path / "docs")
        assert not recompute.errors(name, tmp_path / "docs", recompute.read_cells(tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PUBLISHED)
def test_printed_cells_are_evaluated_again_bit_for_bit(name: str) -> None:
    if not (RUNS / name / "cells.jsonl").exists():
        pytest.skip("not evaluated yet")
    again = api.rerun(RUNS / name, sample=3, progress=False)
    assert not [one for one in again if one.differences]
