"""``agentcomm evaluate MODULE:FUNCTION``: a run for a policy that was trained elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SILENT = "def quiet(agent, observation, inbox):\n    return 0, None\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "quiet_agents.py").write_text(SILENT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "quiet_agents", raising=False)
    return tmp_path


def test_a_callable_gets_a_run(module: Path, command: Callable[..., Any]) -> None:
    words = ("evaluate", "quiet_agents:quiet", "--env", "relay_line:members=2", "--episodes", "8")
    said = command(*words, cwd=module)
    assert "All cells are in runs/quiet_agents-quiet-relay_line/cells.jsonl" in said.stdout
    command("report", "runs/quiet_agents-quiet-relay_line", cwd=module)
    assert not said.stderr


def test_options_that_do_not_fit_are_named(module: Path, command: Callable[..., Any]) -> None:
    assert "add --env NAME" in command("evaluate", "quiet_agents:quiet", cwd=module, code=2).stderr
    said = command("evaluate", "runs/quiet", "--name", "other", cwd=module, code=2)
    assert "--name: only for a policy given as MODULE:FUNCTION" in said.stderr
