"""Parquet: one row per cell, typed columns; see :mod:`agentcomm.export.table` for the columns."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from agentcomm.base.errors import ConfigError
from agentcomm.export.table import Value, flat_rows
from agentcomm.report.load import RunData


def as_parquet(runs: Sequence[RunData]) -> tuple[bytes, list[str]]:
    """The cells of runs as Parquet: text, bool, int64 or double, as the values of a column allow.

    Raises:
        ConfigError: If pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(
            "the format parquet needs pyarrow, which is not installed: pip install pyarrow, or use the format csv"
        ) from None
    rows = flat_rows(runs)
    columns = {name: _typed([row[name] for row in rows]) for name in rows[0]}
    types = {str: pyarrow.string(), bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64()}
    arrays = [pyarrow.array(values, types[kind]) for kind, values in columns.values()]
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(arrays, names=list(columns)), file)
    return file.getvalue(), []


def _typed(values: list[Value]) -> tuple[type, list[Any]]:
    """The type of a column, and its values in that type; text for a mixture."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) == 1:
        return kinds.pop(), values
    kind: type = float if kinds == {int, float} else str
    return kind, [None if value is None else kind(value) for value in values]
