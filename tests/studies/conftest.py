"""Scripts of studies/ as modules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a script by name; scripts import each other from their own folder, afresh in each test."""
    monkeypatch.syspath_prepend(str(STUDIES))
    yield importlib.import_module
    for path in STUDIES.glob("*.py"):
        sys.modules.pop(path.stem, None)
