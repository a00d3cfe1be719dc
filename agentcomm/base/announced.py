"""Loading what installed packages announce as entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import Any

from agentcomm.base.calling import described
from agentcomm.base.errors import PluginError, did_you_mean


def load(kind: str, name: str, points: Mapping[str, EntryPoint]) -> Any:
    """What an entry point names.

    Args:
        kind: What it is, for errors.
        name: Its name.
        points: All entry points by name.

    Raises:
        PluginError: If there is none of this name, or its module cannot be imported; then the error is its cause.
    """
    if name not in points:
        raise PluginError(f"unknown {kind} {name!r}; {did_you_mean(name, sorted(points))}")
    try:
        return points[name].load()
    except Exception as error:  # a module of another package may raise anything
        where = f"{kind} {name!r} ({points[name].value})"
        raise PluginError(f"{where} cannot be imported: {described(error)}") from error
