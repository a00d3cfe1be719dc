"""Evaluates cells as tasks of a Ray cluster; the cells of a batch are one task.

Only the command writes files. A task gets the run's config, the team's policy and input files that lie beside the run
as bytes through Ray's object store, so nodes need no common disk; they need the same versions of agentcomm and of
plug-ins, which each task proves with the hashes that identify its cells. A task whose node or process is lost is
submitted again. If a cell is lost three times by itself, it has failed.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from agentcomm.base import errors
from agentcomm.base.errors import AgentcommError, ConfigError, RayError, RunError, SeveralErrors
from agentcomm.base.inputs import looking_in
from agentcomm.base.text import reason
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.grid import Evaluator
from agentcomm.evaluation.identity import Identities
from agentcomm.evaluation.schedule import Batch, Finished, Tell
from agentcomm.evaluation.worker import CELLS
from agentcomm.runs.folder import Run, open_run, team_name
from agentcomm.training.ray_session import diverted  # first: it sets what Ray reads when it is imported
from agentcomm.training.scratch import OURS, remove_left, scratch
from agentcomm.training.shipping import Files, check_node, pack, unpack

import ray  # isort: skip
from ray import exceptions  # isort: skip
from ray._private.utils import read_ray_address  # isort: skip

LOST = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.LocalRayletDiedError,
    exceptions.ObjectLostError,
    exceptions.OutOfMemoryError,
)
LARGEST_TASK = 8  # cells, so that little is lost with a node
MOST_LOST = 3
SECONDS = 10.0  # within which the head of a cluster has to answer


@dataclass
class _Task:
    """A task that has been submitted.

    Attributes:
        cells: Its cells.
        lost: How often it was lost.
    """

    cells: Batch
    lost: int = 0


class Cluster(Evaluator):
    """Evaluates batches of cells as tasks of a Ray cluster.

    Args:
        run: The run.
        address: ``auto`` for the cluster that this machine belongs to, or ``host:port``.
    """

    def __init__(self, run: Run, address: str) -> None:
        super().__init__(run)
        self.address = address
        self._identities = Identities(run)

    def rows(self, batches: Sequence[Batch], tell: Tell) -> Finished:
        """Evaluate batches; rows come task by task.

        Raises:
            RayError: If there is no cluster, or its nodes have other code than this machine.
            AgentcommError: As raised in a task.
        """
        if not batches:
            return
        todo = deque(_Task(part) for batch in batches for part in _parts(batch))
        running: dict[Any, _Task] = {}
        with joined(self.address, self.run.path / "ray.log"):
            files = {team: ray.put(self._files(cells)) for team, cells in _by_team(batches).items()}
            try:
                while todo or running:
                    while todo:
                        task = todo.popleft()
                        running[_submit(task, files[task.cells[0].variant, task.cells[0].seed])] = task
                    for ref in ray.wait(list(running), timeout=1.0)[0]:
                        task = running.pop(ref)
                        try:
                            rows = self._checked(task, ray.get(ref))
                        except LOST as error:
                            rows = self._again(task, error, todo)
                        for cell, row in rows:
                            tell(cell, 0)
                            yield cell, row
            finally:
                for ref in running:
                    ray.cancel(ref, force=True)

    def _checked(self, task: _Task, answer: dict[str, Any]) -> list[tuple[Cell, dict[str, Any]]]:
        """The rows of a finished task.

        Raises:
            RayError: If its node has other code or files.
            AgentcommError: As raised there.
        """
        if "error" in answer:
            name, text = answer["error"]
            raise getattr(errors, name, RunError)(f"on node {answer['node']}: {text}")
        for cell, identity in zip(task.cells, answer["identities"], strict=True):
            check_node(answer["node"], identity, self._identities.of(cell))
        return list(zip(task.cells, answer["rows"], strict=True))

    def _again(self, task: _Task, error: Exception, todo: deque[_Task]) -> list[tuple[Cell, dict[str, Any]]]:
        """Submit a lost task again, or cell by cell if that may find the one that ends its process; or give it up."""
        lost = task.lost + 1
        if lost < MOST_LOST:
            todo.append(_Task(task.cells, lost))
        elif len(task.cells) > 1:
            todo.extend(_Task([cell]) for cell in task.cells)
        else:
            text = f"its task was lost {lost} times, the last time with: {reason(error).partition('. ')[0]}"
            return [(c, self.about(c) | {"status": "failed", "error": text, "seconds": 0.0}) for c in task.cells]
        return []

    def _files(self, cells: Sequence[Cell]) -> Files:
        """What tasks need of a team: the run's config, the policy, and input files beside the run."""
        team = Path("teams", team_name(cells[0].variant, cells[0].seed), "policy")
        choices = (pair for cell in cells for pair in self._identities.choices(cell))
        return pack(self.run, choices, {team: self.run.path / team})


def _by_team(batches: Sequence[Batch]) -> dict[Any, list[Cell]]:
    found: dict[Any, list[Cell]] = {}
    for batch in batches:
        for cell in batch:
            found.setdefault((cell.variant, cell.seed), []).append(cell)
    return found


def _parts(batch: Batch) -> list[Batch]:
    """A batch in parts that are small enough for a task."""
    return [batch[at : at + LARGEST_TASK] for at in range(0, len(batch), LARGEST_TASK)]


@contextmanager
def joined(address: str, log: Path) -> Iterator[None]:
    """Join a Ray cluster during the block; a Ray that is already running in this process is used and left running.

    Raises:
        RayError: If there is none.
    """
    if ray.is_initialized():
        yield
        return
    remove_left(Path(tempfile.gettempdir()))
    with diverted(log):
        found = head_of(address)
        try:
            ray.init(address=found, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # Ray raises all kinds of errors here
            raise _no_cluster(found, error) from None
        try:
            yield
        finally:
            ray.shutdown()


def head_of(address: str) -> str:
    """Find out whether the head of a cluster listens; Ray itself would try an address without one for minutes.

    Args:
        address: ``host:port``, or ``auto`` for the cluster that was started on this machine with ``ray start``. Ray's
            own ``auto`` would also take a Ray that some other program has started for itself.

    Returns:
        ``host:port``.

    Raises:
        RayError: If there is none.
    """
    found = address if address != "auto" else os.environ.get("RAY_ADDRESS") or read_ray_address()
    if found is None:
        raise RayError(
            "address: this machine belongs to no Ray cluster; start one with `ray start --head`, name the address of"
            " its head, or leave out the address and use --jobs"
        )
    host, _, port = found.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS).close()
    except (OSError, ValueError) as error:
        raise _no_cluster(found, error) from None
    return found


def _no_cluster(address: str, error: Exception) -> RayError:
    return RayError(
        f"address: no Ray cluster answers at {address} ({reason(error)}); start one with `ray start --head`, or leave"
        " out the address and use --jobs"
    )


def _submit(task: _Task, files: Any) -> Any:
    # Ray would also retry a task that ends its own process, without end or record; `Cluster` counts instead.
    gpus = int(task.cells[0].conditions.device != "cpu")
    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0, scheduling_strategy="SPREAD")(_evaluate)
    return remote.remote(files, CELLS.dump_python(list(task.cells), mode="json"))


def _evaluate(files: Files, cells: list[dict[str, Any]]) -> dict[str, Any]:
    """The task: evaluates cells on a node.

    Returns:
        ``rows`` and ``identities`` of the cells, or ``error`` (class and text); ``node``, the node's address.
    """
    torch.set_num_threads(1)
    node = ray.util.get_node_ip_address()
    with scratch(Path(tempfile.gettempdir()), f"{OURS}cells-") as folder:
        at = unpack(files, folder)
        try:
            run = open_run(at, trust=True)  # the command that asks has the user's consent
            with looking_in(run.places()):
                return _rows(run, CELLS.validate_python(cells)) | {"node": node}
        except AgentcommError as error:
            kind = ConfigError if isinstance(error, SeveralErrors) else type(error)
            return {"error": [kind.__name__, str(error)], "node": node}


def _rows(run: Run, cells: list[Cell]) -> dict[str, Any]:
    identities = Identities(run)
    rows = [row for _, row in Evaluator(run).rows([cells], lambda cell, share: None)]
    return {"rows": rows, "identities": [identities.of(cell) for cell in cells]}
