"""Report, pictures, comparison and export: the part of the Python API that shows results and runs no plug-in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from agentcomm.base.errors import ConfigError
from agentcomm.base.text import shorten
from agentcomm.runs.folder import Run
from agentcomm.runs.given import folder_of, path_of

if TYPE_CHECKING:
    from agentcomm.export import Exported
    from agentcomm.report.compare import RunComparison


def report(run: Run | str | Path, output: str | Path | None = None, episodes: int | None = None) -> Path:
    """Write a run's report and return its path; nothing that the run names is imported.

    Args:
        run: A run or its folder.
        output: The file to write; None for ``report.html`` in the run's folder.
        episodes: Which cells to show, by their number of episodes: cells of different numbers are never shown side by
            side. None for those with most.

    Raises:
        AgentcommError: If the run does not exist, no such cell has been evaluated, or the file cannot be written.
    """
    from agentcomm.report import build_report

    return build_report(folder_of(run), None if output is None else Path(output), episodes)


def pictures(run: Run | str | Path, folder: str | Path, format: Literal["svg", "png"] = "svg") -> list[Path]:
    """Write the charts of a run's report as files for papers, and return their paths.

    The same cells give the same bytes.

    Args:
        run: A run or its folder.
        folder: Folder of the files, which is made.
        format: ``svg``, or ``png`` with 300 dots per inch, which needs matplotlib.

    Raises:
        AgentcommError: If the run does not exist, no cell has been evaluated, a file cannot be written, or matplotlib
            is missing.
    """
    from agentcomm.report.load import load_run
    from agentcomm.report.pictures import write_pictures

    if format not in ("svg", "png"):
        raise ConfigError(f"format: must be svg or png (got {shorten(format)})")
    return write_pictures(load_run(folder_of(run)), Path(folder), format)


def compare(runs: Sequence[Run | str | Path], output: str | Path | None = None) -> RunComparison:
    """Compare runs with the first of them; nothing that they name is imported.

    Args:
        runs: Runs, their folders, or folders that contain several.
        output: File of the page to write; None for none.

    Returns:
        The comparison: what differs between the configs, and all values and differences, which its ``rows()`` returns
        as flat rows.

    Raises:
        AgentcommError: If fewer than two runs have evaluated cells, or the file cannot be written.
    """
    from agentcomm.report.compare import compare_runs
    from agentcomm.report.compare_page import write_page

    if isinstance(runs, str | os.PathLike | Run):
        runs = [runs]
    made = compare_runs([path_of(run) for run in runs])
    if output is not None:
        write_page(made, Path(output))
    return made


def export(runs: Run | str | Path | Sequence[Run | str | Path], format: str, output: str | Path) -> Exported:
    """Write the evaluated cells of runs for other tools and return the path, and notes about what is left out.

    Args:
        runs: A run, its folder, or several of them; nothing that they name is imported.
        format: ``marl-eval``, ``csv``, ``parquet`` or ``latex``; the modules of :mod:`agentcomm.export` describe them.
        output: The file to write.

    Raises:
        AgentcommError: If a run does not exist or has no evaluated cell, or the file cannot be written.
    """
    from agentcomm.export import export_runs

    several = [runs] if isinstance(runs, Run | str | os.PathLike) else list(runs)
    return export_runs([folder_of(run) for run in several], format, Path(output))
