"""Versions of the packages that results depend on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

FORMAT = 2  # of the files of a run; files without a number are of format 1


def versions() -> dict[str, str]:
    """Versions by package name, and Python's."""
    out = {"python": platform.python_version()}
    for package in ("agentcomm", "torch", "ray", "pettingzoo", "numpy"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            out[package] = "not installed"
    return out
