"""Scripts of studies/ as modules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from agentcomm.base import registry

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a script by name; scripts import each other from their own folder, afresh in each test."""
    monkeypatch.syspath_prepend(str(STUDIES))
    yield importlib.import_module
    for path in STUDIES.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture(autouse=True)
def _only_the_testbeds_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages name all attacks; those that test modules register are not among them."""
    monkeypatch.setattr(registry, "_registered", {})
