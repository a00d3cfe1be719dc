"""The suite itself: tests that must not run at the same time stay in one process."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SAMPLE = """
import pytest

@pytest.mark.ray
@pytest.mark.parametrize("number", range(4))
def test_ray(number): pass

@pytest.mark.browser
@pytest.mark.parametrize("number", range(4))
def test_browser(number): pass

@pytest.mark.parametrize("number", range(4))
def test_plain(number): pass
"""


def test_ray_and_browser_tests_are_grouped(tmp_path: Path) -> None:
    """On versions of pytest and pytest-xdist that do not go together, groups are split silently."""
    shutil.copy(Path(__file__).parent / "conftest.py", tmp_path)
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    ray\n    browser\naddopts = --strict-markers\n")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "xdist", "--dist", "loadgroup", "-n", "2"]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment)
    said = done.stdout
    assert "12 passed" in said
    for name in ("ray", "browser"):
        ran = re.findall(rf"\[(gw\d)\].*test_{name}\[\d\]@{name}", said)
        assert len(ran) == 4, said
        assert len(set(ran)) == 1, said
