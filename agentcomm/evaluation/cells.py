"""Cells of the evaluation grid, one JSON line each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_jsonl(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Read a file of JSON objects, one a line.

    A run that was killed may leave a truncated last line: lines that are no JSON object are skipped and counted.

    Returns:
        The objects, and the number of broken lines.
    """
    rows: list[dict[str, Any]] = []
    broken = 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            broken += 1
    return rows, broken
