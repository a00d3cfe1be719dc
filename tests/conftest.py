"""Settings of the whole suite: one thread per process, Ray and the browser once at a time, helpers within reach."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# Test processes share the cores. Torch reads this when it is first imported, and so do commands that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

ALONE = ("ray", "browser")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Group tests for ``pytest --dist loadgroup``: those that start Ray run in one process, and so do the browser's."""
    if item.config.pluginmanager.hasplugin("xdist"):
        for name in ALONE:
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.xdist_group(name))
