"""Writes the cells of runs to a file of one of the formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentcomm.base.errors import ConfigError, did_you_mean
from agentcomm.base.files import write_bytes
from agentcomm.export.csv import as_csv
from agentcomm.export.latex import as_latex
from agentcomm.export.marl_eval import as_marl_eval
from agentcomm.export.parquet import as_parquet
from agentcomm.report.load import RunData, load_run

# Each takes the runs and returns the file's content, and what it leaves out, as sentences.
FORMATS: dict[str, Callable[[Sequence[RunData]], tuple[bytes, list[str]]]] = {
    "marl-eval": as_marl_eval,
    "csv": as_csv,
    "parquet": as_parquet,
    "latex": as_latex,
}


@dataclass(frozen=True)
class Exported:
    """A written file.

    Attributes:
        path: The file.
        notes: What it leaves out, as sentences.
    """

    path: Path
    notes: tuple[str, ...]


def export_runs(folders: Sequence[Path], format_: str, output: Path) -> Exported:
    """Write the cells of runs to one file; nothing that the runs name is imported.

    Raises:
        ConfigError: If the format is unknown or cannot be written here, or two runs have the same name.
        RunError: If a run contains no evaluated cell.
        FileError: If the file cannot be written.
    """
    if format_ not in FORMATS:
        raise ConfigError(f"there is no format {format_!r}; {did_you_mean(format_, FORMATS)}")
    runs = [load_run(folder) for folder in folders]
    names = [run.name for run in runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"several runs are called {', '.join(twice)}; export them to files of their own")
    content, notes = FORMATS[format_](runs)
    write_bytes(output, content)
    return Exported(output, (*(f"{run.name}: {note}" for run in runs for note in run.notes), *notes))
