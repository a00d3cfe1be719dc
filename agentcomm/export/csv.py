"""CSV: one row per cell; see :mod:`agentcomm.export.table` for the columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from agentcomm.export.table import flat_rows
from agentcomm.report.load import RunData


def as_csv(runs: Sequence[RunData]) -> tuple[bytes, list[str]]:
    """The cells of runs as CSV in UTF-8 with a header; numbers in the shortest form that reads back unchanged."""
    rows = flat_rows(runs)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(), []
