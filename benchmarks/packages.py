"""Versions of what a timing depends on, in words."""

from __future__ import annotations

from agentcomm.base.versions import versions


def packages() -> str:
    """Names and versions of Python and packages, such as ``python 3.11.7, torch 2.13.0``."""
    return ", ".join(f"{name} {version}" for name, version in versions().items())
