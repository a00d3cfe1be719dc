"""What commands print: consoles, and lines that can be copied."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from agentcomm.base.documents import read_rows
from agentcomm.base.text import visible
from agentcomm.runs.rows import CellRow


class PlainConsole(Console):
    """Prints strings as they are: no markup or emoji codes in them, and no characters that the terminal would obey."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, **settings)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text with control characters made visible."""
        return super().render_str(visible(text), **options)

    def on_broken_pipe(self) -> None:
        """Go on in silence: the reader, such as ``head``, has seen enough, and the work is to be finished."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


console = PlainConsole()
errors = PlainConsole(stderr=True)


def say(text: str) -> None:
    """Print without wrapping or styling, so that commands can be copied."""
    console.print(text, soft_wrap=True, highlight=False)


def complain(text: str) -> None:
    """Print an error."""
    errors.print(Text.assemble(("error: ", "bold red"), visible(text)), highlight=False, soft_wrap=True)


def warn(texts: Iterable[str]) -> None:
    """Print what is wrong and does not stop the command, on stderr."""
    for text in texts:
        errors.print(Text.assemble(("warning: ", "bold yellow"), visible(text)), highlight=False, soft_wrap=True)


def warn_of_broken_lines(run: Path) -> None:
    """Say how many lines of a run's cells cannot be read, if any."""
    path = run / "cells.jsonl"
    _, broken = read_rows(path, CellRow, str(path))
    if broken:
        say(f"Skipped {broken} unreadable line(s) of {path}; evaluate again to restore the cells.")
