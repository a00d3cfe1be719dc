"""Mistakes on the command line: all at once, with the form and an example of the command, without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentcomm.cli.main import app

Command = Callable[..., Any]
NAMES = ["init", "train", "evaluate", "report", "compare", "messages", "list", "demo"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["evaluate"],
            ["RUN is missing", "form: agentcomm evaluate RUN [OPTIONS]", "example: agentcomm evaluate runs/"],
        ),
        (
            ["evaluate", "r", "--attak", "x", "--obedience", "y"],
            ["did you mean --attack?", "--obedience: must be a number"],
        ),
        (["evaluate", "r", "--world", "size=4"], ["--world: no such option; it is now called --env"]),
        (["evaluate", "r", "--attack"], ["--attack: needs a value"]),
        (["messages", "r", "--attack", "a", "--attack", "b"], ["--attack: given 2 times, but takes one value"]),
        (
            ["messages", "r", "--episode", "x", "--seed", "0.5"],
            ["--episode: must be a whole number", "--seed: must be"],
        ),
        (["evaluate", "r", "--device", "cpu", "--device=cpu:0"], ["--device: given 2 times"]),
        (["report", "a", "b", "c"], ["'b' 'c': too many words"]),
        (["evalute"], ["there is no command 'evalute'; did you mean 'evaluate'?"]),
        (["list", "drop"], ["'drop' is an attack: agentcomm list attacks drop"]),
        (["list", "attacks", "dorp"], ["unknown attack 'dorp'; did you mean 'drop'?"]),
        (["list", "risks", "ua"], ["unknown risk 'ua'"]),
        (["list", "attacks", "--plugins", "no_such_module"], ["cannot import 'no_such_module'"]),
        (["--nonsense"], ["--nonsense"]),
        (["init", "a/b"], ["name: must consist of letters"]),
        (["init", "--env", "predator_pray", "--policy", "mapppo"], ["'predator_prey'", "'mappo'"]),
    ],
)
def test_mistakes_are_named_with_the_right_form(
    words: list[str], says: list[str], tmp_path: Path, command: Command
) -> None:
    said = command(*words, cwd=tmp_path, code=2)
    assert said.stderr.startswith("error: ")
    assert [text for text in says if text not in said.stderr] == [], said.stderr
    assert "Traceback" not in said.stderr
    assert "Usage:" not in said.stderr
    assert said.stdout == ""


@pytest.mark.parametrize("name", NAMES)
def test_help_has_an_example_and_fits_a_terminal(
    name: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    said = command(name, "--help", cwd=tmp_path).stdout
    assert f"Example: agentcomm {name}" in said
    assert all(len(line) <= 80 for line in said.splitlines())
    example = next(line for line in said.splitlines() if "Example:" in line)
    registered = next(c for c in app.registered_commands if c.name == name)
    assert example.strip() == registered.epilog


def test_every_example_is_a_command_that_parses() -> None:
    """With run folders and configs that do not exist, which is what is reported."""
    for registered in app.registered_commands:
        words = str(registered.epilog).removeprefix("Example: agentcomm ").split()
        assert words[0] == registered.name


def test_python_m_runs_the_command_line(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "agentcomm", "list", "nonsense"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"NO_COLOR": "1", "FORCE_COLOR": ""},
        check=False,
    )
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("error: unknown axis 'nonsense'")
    assert "\x1b" not in said.stderr


def test_help_and_mistakes_of_usage_do_not_wait_for_torch(tmp_path: Path) -> None:
    """Nor does a completion, for which a shell starts the command line at each press of a key."""
    code = "import sys, agentcomm.cli.main; print({'torch', 'scipy', 'numpy', 'ray'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "set()\n"


def test_without_words_the_workflow_is_shown(tmp_path: Path, command: Command) -> None:
    said = command(cwd=tmp_path).stdout
    for name in NAMES:
        assert f" {name} " in said
    assert "agentcomm init mine" in said


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("agentcomm ev", ["evaluate"]),
        ("agentcomm evaluate ru", ["runs/mine"]),
        ("agentcomm evaluate runs/mine --attack imp", ["impersonate"]),
        ("agentcomm evaluate runs/mine --defense authenticate+cl", ["authenticate+clip"]),
        ("agentcomm evaluate runs/mine --gates cl", ["closed"]),
        ("agentcomm list defe", ["defenses"]),
        ("agentcomm list attacks grad", ["gradient"]),
        ("agentcomm train mi", ["mine.yaml"]),
        ("agentcomm init mine --policy map", ["mappo"]),
    ],
)
def test_words_are_completed(
    typed: str, offered: list[str], tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.yaml").touch()
    (tmp_path / "mine.yaml").touch()
    monkeypatch.setenv("_AGENTCOMM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    assert command(cwd=tmp_path).stdout.split() == offered
