"""The function ``rerun`` of the Python API."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentcomm.base.inputs import looking_in
from agentcomm.evaluators import check_jobs, evaluator_for
from agentcomm.progress import evaluation_bar
from agentcomm.runs.folder import Run
from agentcomm.runs.given import run_of

if TYPE_CHECKING:
    from agentcomm.evaluation.rerun import Rerun


def rerun(
    run: Run | str | os.PathLike[str],
    cell: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    everything: bool = False,
    jobs: int = 1,
    watch: Callable[[Any, float, int], None] | None = None,
    trust: bool = False,
    progress: bool | None = None,
    changed: bool = False,
) -> list[Rerun]:
    """Run cells again from their rows and the team's policy, and compare every recorded number bit for bit.

    Nothing is written.

    Args:
        run: A run or its folder.
        cell: Id of a cell in ``cells.jsonl``, or a part that no other id has.
        sample: In place of ``cell``: number of cells, chosen at random.
        seed: Seed of that choice.
        everything: In place of ``cell``: all cells that are not stale.
        jobs: As for :func:`agentcomm.evaluate`.
        watch: As for :func:`agentcomm.evaluate`.
        trust: As for :func:`agentcomm.evaluate`.
        progress: As for :func:`agentcomm.evaluate`.
        changed: Whether stale cells are run, too: code has changed since, but are their numbers still the same?

    Returns:
        One :class:`agentcomm.evaluation.rerun.Rerun` per cell, with the values that differ.

    Raises:
        AgentcommError: If no such cell was evaluated, or something that it depends on has changed since.
    """
    from agentcomm.evaluation.rerun import rerun as run_again
    from agentcomm.evaluation.rerun import select

    check_jobs(jobs)
    run = run_of(run if isinstance(run, Run) else Path(run), trust)
    rows = select(run, cell, sample, seed, everything, changed)
    with looking_in(run.places()), evaluation_bar(False if watch is not None and progress is None else progress) as bar:
        return run_again(run, rows, watch or bar or (lambda cell, done, total: None), evaluator_for(run, jobs), changed)
