"""What the fast suite runs of many similar cases; ``make test-slow`` runs the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pytest


def thinned(cases: Iterable[Any], fast: Collection[Any]) -> list[Any]:
    """Parameters of a test: the cases in ``fast`` as they are, the others marked slow. Both keep their names."""
    out, kept = [], 0
    for case in cases:
        now = case in fast
        kept += now
        values = case if isinstance(case, tuple) else (case,)
        out.append(pytest.param(*values, marks=() if now else pytest.mark.slow))
    assert kept, "nothing is left of the test"
    return out


def one_of_each_plugin(forms: Mapping[str, tuple[str, Any]]) -> tuple[str, ...]:
    """The first form of each plug-in."""
    first: dict[str, str] = {}
    for form, (name, _) in forms.items():
        first.setdefault(name, form)
    return tuple(first.values())
