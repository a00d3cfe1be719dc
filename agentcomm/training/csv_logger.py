"""Progress as ``progress.csv`` in a team's folder: a column per number, a line per iteration."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from io import StringIO

from agentcomm.base.files import write_text, writing
from agentcomm.contracts.logger import LoggedTeam, Logger, Numbers


class CSVLogger(Logger):
    """Writes each line at once, so that a killed process leaves a whole file.

    The file is written from the start when training is resumed, and when a number appears for the first time.
    """

    def __init__(self, team: LoggedTeam) -> None:
        self._path = team.folder / "progress.csv"
        self._columns: list[str] = []
        self._rows: list[Numbers] = []

    def write(self, row: Numbers) -> None:
        """Append a line; the cells of numbers that it does not have are empty."""
        self._rows.append(row)
        if added := [name for name in row if name not in self._columns]:
            self._columns += added
            cells = [[one.get(name, "") for name in self._columns] for one in self._rows]
            write_text(self._path, _text([self._columns, *cells]))
            return
        line = _text([[row.get(name, "") for name in self._columns]]).encode()
        with writing(self._path, "its earlier lines are kept"):
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(file, line)  # in one call: a part of a line is never there
            finally:
                os.close(file)

    def close(self, finished: bool) -> None:
        """Nothing is left to write."""


def _text(lines: Sequence[Sequence[object]]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
