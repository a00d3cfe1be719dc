"""Folders of runs: one in which nothing was completed does not block the corrected config."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import small

from agentcomm.base.errors import RunError
from agentcomm.runs.folder import create, open_run


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_never_began_is_started_again_with_another_config(tmp_path: Path, resume: bool) -> None:
    first = create(small(), tmp_path)
    stray = first.team("team", 0) / "tensorboard" / "events"
    stray.parent.mkdir(parents=True)
    stray.touch()
    again = create(small("policy.width=8"), tmp_path, resume)
    assert open_run(again.path).config.policy.arguments["width"] == 8
    assert not stray.exists()


@pytest.mark.parametrize(
    "result",
    ["teams/team-0/progress.jsonl", "teams/team-0/checkpoints/iteration-1", "teams/team-0/policy", "cells.jsonl"],
)
def test_a_run_with_results_is_not_overwritten(tmp_path: Path, result: str) -> None:
    run = create(small(), tmp_path)
    kept = run.path / result
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.touch()
    with pytest.raises(RunError, match="already holds a run"):
        create(small("policy.width=8"), tmp_path)
    with pytest.raises(RunError, match="differs in policy"):
        create(small("policy.width=8"), tmp_path, resume=True)
    (run.path / "config.yaml").unlink()
    create(small(), tmp_path)
    assert kept.exists()


def test_a_run_that_another_process_begins_is_not_started_again(tmp_path: Path) -> None:
    run = create(small(), tmp_path)
    with run.lock(), pytest.raises(RunError, match="is writing to"):
        create(small("policy.width=8"), tmp_path)
