"""Commands in this process, which start faster than in one of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from agentcomm.cli.main import main
from agentcomm.cli.screen import console


class Said(NamedTuple):
    """What a command wrote."""

    stdout: str
    stderr: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs a command in a folder; it ends with that exit code."""
    monkeypatch.setattr(console, "width", 160)

    def run(*words: str, cwd: Path, code: int = 0) -> Said:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["agentcomm", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code or 0) == code
        return Said(*capsys.readouterr())

    return run
