"""``agentcomm new`` writes packages that work as they are, and ``agentcomm check`` says what is wrong with one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from agentcomm.base import registry
from agentcomm.base.registry import AXES, PLURAL, Axis
from agentcomm.cli.new import package

Command = Callable[..., Any]
ATTACK = """
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel


class Mine(Attack):
    def threat_model(self):
        return ThreatModel(Position(kind="edge"), frozenset({{"drop"}}), budget=self.config.budget)

    def on_messages(self, view):
        some = view.reach
        return {answer}
"""


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path, whose modules are forgotten after the test."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def announced_by(home: Path, axis: Axis) -> dict[str, EntryPoint]:
    """The installed entry points of an axis and, as if it were installed, those of a package that has one."""
    project = tomllib.loads((home / "pyproject.toml").read_text())["project"]
    ((group, points),) = project["entry-points"].items()
    assert group == f"agentcomm.{PLURAL[axis]}"
    own = {f"{project['name']}/{name}": EntryPoint(name, value, group) for name, value in points.items()}
    return registry._announced(axis) | own


@pytest.mark.parametrize("axis", AXES)
def test_a_new_package_passes_its_own_tests(
    axis: Axis, command: Command, importable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = importable / "agentcomm-night-owl"
    assert "agentcomm check agentcomm_night_owl:NightOwl" in command("new", axis, "night_owl", cwd=importable).stdout
    monkeypatch.syspath_prepend(str(home))
    found, others = announced_by(home, axis), registry._announced
    monkeypatch.setattr(registry, "_announced", lambda a: found if a == axis else others(a))
    tests: dict[str, Any] = {}
    exec(compile((home / "tests" / "test_night_owl.py").read_text(), "test_night_owl.py", "exec"), tests)
    tests["test_it_keeps_its_contract"]()
    tests["test_it_is_installed"]()
    said = command("check", "agentcomm_night_owl:NightOwl", cwd=importable)
    assert said.stdout.startswith(f"{axis} 'night_owl' keeps its contract")
    texts = [path.read_text() for path in home.rglob("*") if path.suffix in (".py", ".toml", ".md")]
    left = re.compile(rf"my[_-]?(attack|{axis})|templates|SUMMARY|USE_IT|isort", re.IGNORECASE)
    assert len(texts) == 4
    assert not any(left.search(text) for text in texts), "no word of the template is left"


@pytest.mark.slow
def test_new_packages_are_installed_and_tested(tmp_path: Path) -> None:
    """All of them, by pip, into a folder that is no virtual environment."""
    for axis in AXES:
        for path, text in package(axis, f"owl_{axis}").items():
            file = tmp_path / axis / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "install", "--no-deps"]
    subprocess.run([*pip, "--target", target, *(tmp_path / axis for axis in AXES)], check=True, timeout=300)
    tests = [tmp_path / axis / "tests" for axis in AXES]
    words = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    env = os.environ | {"PYTHONPATH": str(target)}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert f"{2 * len(AXES)} passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "Flip",
            "'Flip' is no valid name; write at most 40 lower-case letters and digits, words joined by underscores",
        ),
        ("two words", "is no valid name"),
        ("../flip", "is no valid name"),
        ("flip_", "is no valid name"),
        ("x" * 41, "is no valid name"),
        ("replay", "'replay' is already the name of an attack; choose another name"),
        ("true", "'true' is no text in a YAML config"),
        ("attack", "'attack' would make a class Attack, which the package imports"),
        ("field", "would make a class Field"),
    ],
)
def test_names_that_cannot_be_used_are_refused(name: str, says: str, command: Command, tmp_path: Path) -> None:
    assert says in command("new", "attack", name, cwd=tmp_path, code=2).stderr
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(command: Command, tmp_path: Path) -> None:
    command("new", "attacks", "flip", cwd=tmp_path)
    file = tmp_path / "agentcomm-flip" / "agentcomm_flip.py"
    file.write_text("mine")
    assert "agentcomm-flip exists already" in command("new", "codec", "flip", cwd=tmp_path, code=2).stderr
    assert file.read_text() == "mine"
    assert "unknown axis 'atack'; did you mean" in command("new", "atack", "flap", cwd=tmp_path, code=2).stderr


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            "MessageEdits(drop=some, delay=some.long())",
            "breaks the contract of attacks: .*more than its threat model allows",
        ),
        ("None", "on_messages must return MessageEdits.*but returned None"),
        ("MessageEdits(drop=view.payload > 0)", "reads view.payload, which requires the power 'read'"),
        ("MessageEdits(drop=some / 0 / {})", "TypeError: unsupported operand"),
    ],
)
def test_a_broken_plug_in_is_named_with_its_line(answer: str, says: str, command: Command, importable: Path) -> None:
    module = f"broken_{abs(hash(answer))}"
    (importable / f"{module}.py").write_text(ATTACK.format(answer=answer))
    said = command("check", f"{module}:Mine", cwd=importable, code=2).stderr
    assert re.search(says, said)
    assert f"{importable / module}.py, line 13" in said


def test_what_cannot_be_checked_is_explained(command: Command, importable: Path) -> None:
    (importable / "sound.py").write_text(ATTACK.format(answer="MessageEdits(drop=some)"))
    assert "attack 'mine' keeps its contract" in command("check", "sound:Mine", cwd=importable).stdout
    for words, says in (
        (["sound"], "'sound' names no class; write MODULE:CLASS"),
        (["sound:Mein"], "sound has no class 'Mein'; did you mean 'Mine'?"),
        (["sound:ThreatModel"], "is no plug-in: a plug-in is a class that derives from one of World, CommPolicy"),
        (["nowhere_at_all:Mine"], "cannot import 'nowhere_at_all'"),
        (["sound:Mine", "budgt=3"], "budgt: unknown key; did you mean 'budget'"),
        (["sound:Mine", "--env", "oracle_hint"], "--env: only policies are checked in an environment"),
    ):
        assert says in command("check", *words, cwd=importable, code=2).stderr
