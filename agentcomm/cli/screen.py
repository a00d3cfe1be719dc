"""What commands print: consoles, and lines that can be copied."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from agentcomm.base.files import read_jsonl

console = Console()
errors = Console(stderr=True)


def say(text: str) -> None:
    """Print without wrapping or styling, so that commands can be copied."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def warn_of_broken_lines(run: Path) -> None:
    """Say how many lines of a run's cells cannot be read, if any."""
    path = run / "cells.jsonl"
    broken = read_jsonl(path)[1] if path.exists() else 0
    if broken:
        say(f"Skipped {broken} unreadable line(s) of {path}; evaluate again to restore the cells.")
