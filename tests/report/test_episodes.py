"""Cells of different episodes are never shown side by side; a later look at fewer of them replaces nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import synthetic
import yaml

from agentcomm.base.errors import RunError
from agentcomm.cli import tables
from agentcomm.evaluation.metrics import suites
from agentcomm.export.latex import as_latex
from agentcomm.report.build import render
from agentcomm.report.claims import Claims
from agentcomm.report.compare import compare_runs
from agentcomm.report.heat import Heatmap
from agentcomm.report.load import load_run
from agentcomm.report.reproduce import commands
from agentcomm.report.results import Results

Rows = list[dict[str, Any]]
REPLAY = "replay(rate=1.0)"


def quick(rows: Rows, episodes: int = 64) -> Rows:
    """The same cells of fewer episodes, and with other scores."""
    found = json.loads(json.dumps(rows))
    for row in found:
        row["episodes"], row["id"] = episodes, f"{row['id']}|{episodes}"
        row["metrics"]["mean_steps"] += 50
    return list(found)


def write(folder: Path, rows: Rows, **evaluation: Any) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(synthetic.config(folder.name, [0]) | {"evaluation": evaluation}))
    synthetic.write_cells(folder, rows)
    return folder


def test_a_later_look_at_fewer_episodes_replaces_nothing(tmp_path: Path) -> None:
    rows = synthetic.exact()
    run = load_run(write(tmp_path / "run", [*rows, *quick(rows)]))
    assert (run.cells, len(run.others)) == (rows, len(rows))
    found = Results(run.cells, run.conditions)
    assert set(found.clean.values()) == {6.0}
    assert set(found.scores(REPLAY).values()) == {10.0}
    page = render(run)
    assert f"{len(rows)} cells are left out, of 64 episodes: cells of 2048 episodes (seed 1000003) are shown" in page
    assert re.search(r"2,048 episodes per cell", page)
    assert "56.00" not in as_latex([run])[0].decode()
    assert "left out" in as_latex([run])[1][0]


def test_others_are_shown_when_asked_for_and_never_mixed(tmp_path: Path) -> None:
    rows = synthetic.exact()
    folder = write(tmp_path / "run", [*rows, *quick(rows)], episodes=64, seed=1000003)
    run = load_run(folder, episodes=64)
    assert {row["episodes"] for row in run.cells} == {64}
    with pytest.raises(RunError, match="no cell of 7 episodes; its cells have: 64, 2,048"):
        load_run(folder, episodes=7)
    assert commands(load_run(folder)).notes[0].endswith("set evaluation: {episodes: 2048} in it")
    assert not commands(run).notes


def test_another_seed_of_episodes_is_not_mixed_either(tmp_path: Path) -> None:
    rows = synthetic.exact()
    other = [row | {"episode_seed": 5} for row in quick(rows[:3], 2048)]
    run = load_run(write(tmp_path / "run", [*other, *rows]))
    assert run.cells == rows
    assert "of another seed of episodes" in run.left_out[0]


def test_failed_cells_of_more_episodes_hide_nothing(tmp_path: Path) -> None:
    rows = synthetic.exact()
    failed = [row | {"status": "failed", "metrics": {}} for row in quick(rows, 9000)]
    assert load_run(write(tmp_path / "run", [*rows, *failed])).cells == rows


def test_a_look_under_other_decisions_moves_no_grid(tmp_path: Path) -> None:
    sampled = [row | {"conditions_label": "decisions sampled", "decisions": "sampled"} for row in synthetic.exact()]
    greedy = [row | {"id": row["id"] + "g"} for row in synthetic.exact() if not row["attack"]]
    for label, config in (("decisions sampled", {"decisions": "sampled"}), ("", {})):
        run = load_run(write(tmp_path / (label or "none"), [*sampled, *greedy], **config))
        assert run.conditions == label
        found = Results(run.cells, run.conditions)
        assert (found.decisions, len(found.changed)) == ("sampled", len(greedy))
    assert Results([*sampled, *synthetic.exact()]).decisions == "greedy"


def test_a_comparison_of_different_episodes_says_so(tmp_path: Path) -> None:
    rows = synthetic.exact()
    one, other = write(tmp_path / "one", [*rows, *quick(rows)]), write(tmp_path / "other", quick(rows))
    notes = " ".join(compare_runs([one, other]).notes)
    assert "one: 2048 of seed 1000003, other: 64 of seed 1000003" in notes
    assert f"one: {len(rows)} cells are left out, of 64 episodes" in notes
    same = " ".join(compare_runs([one, write(tmp_path / "third", rows)]).notes)
    assert "different episodes" not in same


def test_suites_take_the_floor_of_their_own_episodes() -> None:
    rows = [row | {"defenses": [], "environment": None} for row in synthetic.exact((0,))]
    found = suites([*rows, *quick(rows)])
    plain = [suite for suite in found if suite.defenses == "none"]
    assert [suite.value(suite.clean) for suite in plain] == [-6.0, -56.0]
    assert [suite.value(suite.floor) for suite in plain] == [-14.0, -64.0]


def shares(rows: Rows) -> list[str]:
    """The shares of the value of communication that the command line prints for the undefended team."""
    table = tables.suites(rows)
    assert table is not None
    return [str(next(iter(column.cells))) for column in table.columns[3:]]


def test_command_line_and_report_share_the_rule_of_shares() -> None:
    """Clean 6, floor 14, replay 10 and drop 8: half and three quarters are left."""
    ten = synthetic.exact(tuple(range(10)))
    assert shares(ten) == ["0.62", "0.50"]
    results = Results(ten)
    assert results.retained(results.scores(REPLAY)).value == pytest.approx(0.5)
    few = synthetic.exact((0, 1, 2))
    assert shares(few) == ["", ""]
    found = Results(few)
    assert not found.retained(found.scores(REPLAY)).known
    for some in (results, found):
        assert (("retained", "Retained fraction") in Heatmap(some, Claims(some)).measures) == some.valued
