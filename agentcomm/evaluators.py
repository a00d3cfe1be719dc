"""Who evaluates cells: this process, worker processes, or a Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentcomm.base.errors import ConfigError
from agentcomm.base.text import shorten
from agentcomm.runs.folder import Run

if TYPE_CHECKING:
    from agentcomm.evaluation.grid import Evaluator


def evaluator_for(
    run: Run, jobs: int = 1, isolate: bool = False, address: str | None = None, check: str | None = None
) -> Evaluator | None:
    """What evaluates the cells of a run; None for this process.

    Args:
        run: The run.
        jobs: Number of processes.
        isolate: Whether each cell gets a process of its own.
        address: Address of a Ray cluster, in place of processes.
        check: With ``isolate``, function to check plug-ins with, as ``module:function``.
    """
    if address is not None:
        from agentcomm.training.cluster import Cluster

        return Cluster(run, address)
    if jobs == 1 and not isolate:
        return None
    from agentcomm.evaluation.processes import Processes

    return Processes(run, jobs, isolate, check)


def check_jobs(jobs: Any, isolate: bool = False, address: Any = None, what: str = "cells run") -> None:
    """Check the options that choose how cells are evaluated, or teams are trained.

    Args:
        jobs: Number of processes.
        isolate: Whether each cell gets a process of its own.
        address: Address of a Ray cluster, in place of processes.
        what: What there are several of, and what happens to them, in an error.

    Raises:
        ConfigError: If the number of processes or the address is invalid, or both are given.
    """
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ConfigError(f"jobs: must be a whole number from 1 (got {shorten(jobs)})")
    if address is None:
        return
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    if address != "auto" and not (host and "/" not in host and port.isdecimal() and 0 < int(port) < 2**16):
        raise ConfigError(f"address: must be auto, or HOST:PORT such as 10.0.0.1:6379 (got {shorten(address)})")
    if isolate or jobs > 1:
        out = "jobs and isolate" if what == "cells run" else "jobs"
        raise ConfigError(f"address: the Ray cluster decides how many {what} at once; leave out {out}")
