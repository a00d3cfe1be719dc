"""Examples run, and the README shows them as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agentcomm.config import load

ROOT = Path(__file__).parent.parent
CONFIGS = [*sorted((ROOT / "examples").glob("*.yaml")), ROOT / "agentcomm" / "demo.yaml"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_example_configs_are_valid(path: Path) -> None:
    assert load(path).name == path.stem


@pytest.mark.ray
def test_the_ten_lines_run_and_stand_in_the_readme(tmp_path: Path) -> None:
    example = ROOT / "examples" / "ten_lines.py"
    code = example.read_text().partition('"""\n\n')[2]
    assert code in (ROOT / "README.md").read_text()
    done = subprocess.run([sys.executable, example], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (tmp_path / "runs" / "ten-lines" / "report.html").exists()
