"""The example package of examples/plugin: small, installed outside the tree, and used from the command line."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from installing import install

PLUGIN = Path(__file__).parent.parent / "examples" / "plugin"
MOST = {"environment": 60, "policy": 60, "attack": 25, "defense": 25}


def lines_of_code(path: Path) -> int:
    """Lines that are neither blank nor part of a comment or docstring."""
    text = path.read_text()
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            skipped |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and line.strip()[0] != "#" and number not in skipped for number, line in lines)


@pytest.mark.parametrize("name", MOST)
def test_a_plug_in_takes_few_lines(name: str) -> None:
    assert 5 < lines_of_code(PLUGIN / "harbor" / f"{name}.py") <= MOST[name]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    install(PLUGIN, target)
    return target


def run(*words: object, path: Path, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with another one on the import path."""
    env = os.environ | {"PYTHONPATH": str(path), "COLUMNS": "160"}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=250)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_its_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    """Which check all four plug-ins, found by their names."""
    done = run("-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", PLUGIN, path=installed, cwd=tmp_path)
    assert "5 passed" in done.stdout


def test_the_command_line_finds_it(installed: Path, tmp_path: Path) -> None:
    agentcomm = ("-m", "agentcomm")
    done = run(
        *agentcomm, "init", "mine", "--env", "harbor:ships=2", "--policy", "lookout", path=installed, cwd=tmp_path
    )
    assert done.stderr == ""
    assert "ships: 2" in (tmp_path / "mine.yaml").read_text()
    found = json.loads(run(*agentcomm, "list", "attacks", "--json", path=installed, cwd=tmp_path).stdout)
    (attack,) = (about for about in found if about["name"] == "old_light")
    assert attack["threat"]["position"]["kind"] == "edge"


def test_a_broken_package_beside_it_is_named(installed: Path, tmp_path: Path) -> None:
    """One that cannot be imported, and whose metric has the name of another: the rest works."""
    target = tmp_path / "both"
    shutil.copytree(installed, target)
    (target / "bad.py").write_text("import os\n\nraise RuntimeError('no such device')\n")
    about = target / "bad-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        "[agentcomm.metrics]\nharm = bad:Harm\n[agentcomm.attacks]\nharsh = bad:Harsh\n"
    )
    done = run("-m", "agentcomm", "list", path=target, cwd=tmp_path)
    assert "old_light" in done.stdout
    broken = f"RuntimeError: no such device ({target}/bad.py, line 3)"
    assert (
        f"warning: attack 'harsh' is left out: plug-in 'harsh' (bad:Harsh) cannot be imported: {broken}" in done.stderr
    )
    assert "warning: metric 'bad/harm' is left out" in done.stderr
    assert "metric 'bad/harm' has the name of a metric of another package; write its full name" in done.stderr
    code = "import agentcomm.evaluation.metrics as m; print(len([*m._metrics()]) > 20)"
    assert run("-c", code, path=target, cwd=tmp_path).stdout == "True\n"


@pytest.mark.slow
@pytest.mark.ray
def test_it_is_installed_trained_attacked_and_defended(tmp_path: Path) -> None:
    """By pip and the commands of its README, with the numbers that these lead to: about two minutes."""
    target, copy = tmp_path / "installed", tmp_path / "plugin"
    shutil.copytree(PLUGIN, copy)  # pip builds within the folder
    pip = ("-m", "pip", "-q", "--disable-pip-version-check", "install", "--no-deps", "--target", target, copy)
    run(*pip, path=tmp_path, cwd=tmp_path)
    for words in (
        ("check", "harbor.attack:OldLight"),
        ("train", copy / "harbor.yaml"),
        ("evaluate", "runs/harbor", "--attack", "old_light", "--defense", "dim", "--adaptive"),
        ("report", "runs/harbor"),
    ):
        run("-m", "agentcomm", *words, path=target, cwd=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "runs/harbor/cells.jsonl").read_text().splitlines()]
    returns = {
        (row["attack"] and row["attack"]["label"], row["defense_label"], row["variant"]): row["metrics"]["mean_return"]
        for row in rows
    }
    silent = returns[None, "none", "control"]
    assert returns[None, "none", "team"] > 9.5
    assert returns["old_light", "none", "team"] < silent + 0.5, "worse than messages are worth"
    assert returns["old_light", "dim", "team"] > 9.5
    assert returns["old_light(loudness=1)", "dim", "team"] < 8, "the attack that knows it"
