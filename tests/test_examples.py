"""Examples run, and the README shows them as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from agentcomm import registry
from agentcomm.config import load
from agentcomm.conformance import check_attack

ROOT = Path(__file__).parent.parent
CONFIGS = [*sorted((ROOT / "examples").glob("*.yaml")), ROOT / "agentcomm" / "demo.yaml"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_example_configs_are_valid(path: Path) -> None:
    assert load(path).name == path.stem


def test_the_attack_in_the_documentation_keeps_its_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    text = (ROOT / "docs" / "adding.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    module = ModuleType("flip")
    monkeypatch.setitem(sys.modules, "flip", module)
    exec(compile(code, "docs/adding.md", "exec"), module.__dict__)
    check_attack(module.Flip, {"probability": 1.0})


@pytest.mark.ray
def test_the_ten_lines_run_and_stand_in_the_readme(tmp_path: Path) -> None:
    example = ROOT / "examples" / "ten_lines.py"
    code = example.read_text().partition('"""\n\n')[2]
    assert code in (ROOT / "README.md").read_text()
    done = subprocess.run([sys.executable, example], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (tmp_path / "runs" / "ten-lines" / "report.html").exists()
