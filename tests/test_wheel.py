"""The wheel has all that it needs: outside the repository it trains, evaluates and reports. And the tutorial runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "examples" / "tutorial.ipynb"

PACKAGES = ("agentcomm", "envs", "policies", "attacks")

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1200)]


def run(*words: object, cwd: Path, path: Path | None = None) -> str:
    """Run Python in a folder, with another one on the import path; returns what it prints."""
    env = os.environ | ({} if path is None else {"PYTHONPATH": str(path)})
    done = subprocess.run([sys.executable, *map(str, words)], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_runs_the_demo_outside_the_repository(tmp_path: Path) -> None:
    """Its config with less training; `make wheel` runs all of it."""
    pip = ("-m", "pip", "-q", "--disable-pip-version-check")
    source = tmp_path / "source"  # pip builds within the folder
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    target = tmp_path / "installed"
    run(*pip, "install", "--no-deps", "--target", target, wheel, cwd=tmp_path)
    code = "import agentcomm, envs, policies, attacks; print(agentcomm.__file__, envs.__file__)"
    assert run("-c", code, cwd=tmp_path, path=target).count(str(target)) == 2
    agentcomm = ("-m", "agentcomm")
    small = ("training.env_steps=4096", "seeds=[0]", "evaluation.episodes=64")
    run(*agentcomm, "train", target / "agentcomm" / "demo.yaml", *small, cwd=tmp_path, path=target)
    run(*agentcomm, "evaluate", "runs/demo", cwd=tmp_path, path=target)
    run(*agentcomm, "report", "runs/demo", cwd=tmp_path, path=target)
    rows = [json.loads(line) for line in (tmp_path / "runs/demo/cells.jsonl").read_text().splitlines()]
    assert len(rows) > 10
    assert all(row["status"] in ("ok", "inconclusive") for row in rows)
    assert (tmp_path / "runs" / "demo" / "report.html").stat().st_size > 100_000
    run(*agentcomm, "new", "policy", "owl", cwd=tmp_path, path=target)


def test_the_tutorial_runs(tmp_path: Path) -> None:
    """From nothing to an attack of one's own, with the effects that it speaks of, within a quarter of an hour."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient").NotebookClient
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    rows = [json.loads(line) for line in (tmp_path / "runs/tutorial/cells.jsonl").read_text().splitlines()]
    score = {
        (row["attack"] and row["attack"]["label"], row["defense_label"], row["variant"]): row["metrics"]["mean_return"]
        for row in rows
    }
    assert score[None, "none", "team"] > 9
    assert score[None, "none", "control"] < 3.5
    assert score["yesterday", "none", "team"] < score["noise", "none", "team"], "aimed edits do more than noise"
    assert (tmp_path / "runs" / "tutorial" / "report.html").exists()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = "".join(output.get("text", "") for output in outputs)
    assert not re.search(r"warning|missing|deprecat", printed, re.IGNORECASE), "nothing warns beside the progress bar"
