"""Versions of the packages that results depend on."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

FORMAT = 2  # of the files of a run; files without a number are of format 1


def versions() -> dict[str, str]:
    """Versions by package name, and Python's."""
    packages = ("agentcomm", "torch", "ray", "pettingzoo", "numpy")
    return {"python": platform.python_version()} | {package: _installed(package) for package in packages}


@cache
def _installed(package: str) -> str:
    """Version of a package, read once per process: every row of a cell has it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
