"""Published teams: no attack changes a decision that is certified against it, in any team."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentcomm.base.documents import read_rows
from agentcomm.certificates.measure import Played, certificates, play
from agentcomm.certificates.reach import reach_of_links
from agentcomm.evaluation.cells import Cell
from agentcomm.runs.choices import Choice
from agentcomm.runs.folder import Run
from agentcomm.runs.given import run_of

RUNS = Path(__file__).parents[2] / "studies" / "runs"
PROVED = RUNS / "certified" / "cells.jsonl"
WHITE: dict[str, Any] = {"name": "gradient", "epsilon": 5.0, "steps": 3, "adaptive": True}


def test_no_team_is_certified_above_what_attacks_leave() -> None:
    """The rows of studies/certified.py, one by one."""
    rows, _ = read_rows(PROVED, None, str(PROVED))
    assert {row["certificate"] for row in rows} == {"reach", "vote", "radius"}
    for row in rows:
        found = row["metrics"]
        assert 0 <= found["certified"] <= found["empirical"] <= row["decisions"], (row["team"], row["budget"])


def team(name: str, *defenses: str) -> tuple[Run, Cell]:
    """The first team of a published run, in a few episodes."""
    run = run_of(RUNS / name)
    cell = Cell("team", 0, None, tuple(map(Choice.parse, defenses)), 16, 11)
    return run, cell.canonical(run.config.environment)


def attacked(run: Run, cell: Cell, attack: dict[str, Any]) -> Played:
    """The same episodes under an attack."""
    struck = replace(cell, attack=Choice.model_validate(attack))
    return play(run, struck.canonical(run.config.environment))


@pytest.mark.parametrize("attack", [WHITE, {"name": "drop"}])
@pytest.mark.parametrize("name", ["capture_gated", "hint_9"])
def test_no_certified_decision_changes(name: str, attack: dict[str, Any]) -> None:
    run, cell = team(name)
    clean = play(run, cell)
    pairs = clean.recorded.links()
    reach = reach_of_links(clean.recorded, pairs)
    changed = 0
    for at in (0, len(pairs) - 1):
        then = attacked(run, cell, attack | {"links": [list(pairs[at])]})
        steps = min(clean.action.shape[1], then.action.shape[1])
        differs = (clean.action[:, :steps] != then.action[:, :steps]) & clean.acting[:, :steps]
        assert not (differs & ~reach[:, at, :steps]).any()
        changed += int(differs.sum())
    assert changed or attack["name"] == "drop"


def test_votes_hold() -> None:
    """Attacked is one link of every receiver; a team's later decisions depend on its first."""
    run, cell = team("agreement_9_subset", "ensemble:k=2")
    clean = play(run, cell)
    row = next(row for row in certificates(run, cell) if row["certificate"] == "vote")
    links = [[0, receiver] for receiver in range(1, 9)] + [[1, 0]]
    then = attacked(run, cell, WHITE | {"links": links})
    steps = min(clean.action.shape[1], then.action.shape[1])
    same = (clean.action[:, :steps] == then.action[:, :steps]) & clean.acting[:, :steps] & then.acting[:, :steps]
    assert 0 < row["certified"] <= int(same.sum()) < row["decisions"]
