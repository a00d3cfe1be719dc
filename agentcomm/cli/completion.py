"""Completion of words in a shell: run folders, configs, axes, and names of plug-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from agentcomm.base import registry
from agentcomm.base.registry import Axis


def run_folders(incomplete: str) -> list[str]:
    """Folders that contain a run."""
    return sorted(
        str(path.parent) for path in Path().glob("*/*/config.yaml") if str(path.parent).startswith(incomplete)
    )


def config_files(incomplete: str) -> list[str]:
    """YAML files of the working directory and of the typed folder."""
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    found = [*folder.glob("*.yaml"), *folder.glob("*/*.yaml")]
    return sorted(str(path) for path in found if str(path).startswith(incomplete))


def axes(incomplete: str) -> list[str]:
    """Axes as arguments of ``agentcomm list``."""
    return [name for name in (*registry.PLURAL.values(), "risks", "countermeasures") if name.startswith(incomplete)]


def listed(ctx: Any, incomplete: str) -> list[str]:
    """Plug-ins of the axis that is typed before."""
    typed = ctx.params.get("axis")
    return [
        name
        for axis in registry.AXES
        if typed in (axis, registry.PLURAL[axis])
        for name in registry.names(axis)
        if name.startswith(incomplete)
    ]


def plugins(axis: Axis) -> Callable[[str], list[str]]:
    """Names of the plug-ins of an axis; after a plus sign, those that can be joined to the typed ones."""

    def complete(incomplete: str) -> list[str]:
        before, plus, last = incomplete.rpartition("+")
        return [f"{before}{plus}{name}" for name in registry.names(axis) if name.startswith(last)]

    return complete


def words(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Words of a closed set."""
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]
