"""Evaluates cells in worker processes: several at a time, or each in a process of its own.

A worker is a new Python process with one torch thread. It gets batches of cells over standard input and answers over a
pipe, so that what plug-ins print does not disturb it; when the command is gone, even after kill -9, it ends.
If it ends early (``os._exit``, a segmentation fault, no memory left), the cell under way has failed, and its row
says how it ended; another worker goes on with the rest. Rows are the same as in the command's own process.

Modules named in the config's ``plugins`` are imported by the command itself, too. Plug-ins that a script registers are
found by their modules, but not those of the script that was started.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from agentcomm.base import errors, registry
from agentcomm.base.errors import RunError
from agentcomm.base.text import exit_text
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.grid import Evaluator
from agentcomm.evaluation.schedule import Batch, Finished, Tell
from agentcomm.evaluation.worker import CELLS
from agentcomm.runs.folder import Run

COMMAND = [sys.executable, "-c", "from agentcomm.evaluation.worker import main; main()"]
Answer = dict[str, Any]
PATIENCE = 1.0  # seconds between two looks whether a silent process is still there


class Crash(RunError):
    """A process ended without an answer."""


class Worker:
    """A worker process; it has a session of its own, so that Ctrl-C reaches the command only, which then ends it."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._channel, write = os.pipe()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
        self._process = subprocess.Popen(
            [*COMMAND, str(write)],
            stdin=subprocess.PIPE,
            stderr=self._said,
            env=environment,
            start_new_session=True,
            pass_fds=(write,),
            text=True,
        )
        os.close(write)

    def ask(self, job: dict[str, Any]) -> Iterator[Answer]:
        """Give it a job; yields its answers, of which the last one is the result.

        Raises:
            Crash: If the process ended without a result.
            AgentcommError: As raised there.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it is gone already; its exit status says why
            self._process.stdin.write(json.dumps(job | {"modules": registry.registered_modules()}) + "\n")
            self._process.stdin.flush()
        for line in self._lines():
            answer = json.loads(line)
            if "error" in answer:
                name, text = answer["error"]
                raise getattr(errors, name, RunError)(text)
            yield answer
            if "result" in answer:
                return
        code = self._process.wait()
        self._said.seek(0)
        lines = [line for line in self._said.read().decode(errors="replace").splitlines() if line.strip()]
        said = f": {lines[-1].strip()[:200]}" if lines else ""
        raise Crash(f"its process {exit_text(code)}{said}")

    def kill(self) -> None:
        """Kill the process and those that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill the process, and release what is held for it."""
        self.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        os.close(self._channel)
        self._said.close()

    def _lines(self) -> Iterator[str]:
        """Lines of the pipe until the process has ended; processes that it left behind may keep the pipe open."""
        rest = b""
        while True:
            ended = self._process.poll() is not None
            if not select.select([self._channel], [], [], 0 if ended else PATIENCE)[0]:
                if ended:
                    return
                continue
            read = os.read(self._channel, 2**16)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            yield from (line.decode() for line in lines)


class Processes(Evaluator):
    """Evaluates batches of cells in several processes.

    Args:
        run: The run.
        jobs: Number of processes.
        isolate: Whether each cell gets a process of its own, and so do the other methods.
        check: With ``isolate``, function to check plug-ins with before any cell is evaluated, as ``module:function``;
            it takes the run's config, attacks, defenses and transports. None for no check.
    """

    def __init__(self, run: Run, jobs: int = 1, isolate: bool = False, check: str | None = None) -> None:
        super().__init__(run)
        self.jobs, self.isolate, self.check = jobs, isolate, check

    def misfits(self, cells: Sequence[Cell]) -> dict[str, str]:
        """As in this process; with isolation, a crash is left to the cell that causes it."""
        if not self.isolate:
            return super().misfits(cells)
        try:
            found: dict[str, str] = self._ask("misfits", cells)
        except Crash:
            return {}
        return found

    def rows(self, batches: Sequence[Batch], tell: Tell) -> Finished:
        """Evaluate batches; a crash marks the cell under way as failed."""
        pool = _Pool(self, batches)
        try:
            for what, cell, value in pool.news():
                if what == "share":
                    tell(cell, value)
                elif what == "row":
                    yield cell, value
                elif what == "crash":
                    about = self.about(cell) if value[1] is None else value[1]
                    yield cell, about | {"status": "failed", "error": value[0], "seconds": 0.0}
                else:
                    raise value
        finally:
            pool.end()

    def record(self, cells: Sequence[Cell]) -> None:
        """Record scenes of the cells for the player.

        Raises:
            RunError: If the process crashed.
        """
        if not self.isolate:
            return super().record(cells)
        try:
            self._ask("record", cells)
        except Crash as crash:
            raise RunError(
                f"all cells are evaluated, but scenes for the player could not be recorded: {crash}"
            ) from None

    def job(self, what: str, cells: Sequence[Cell]) -> dict[str, Any]:
        """What a worker is asked."""
        return {
            "what": what,
            "check": self.check,
            "run": str(self.run.path.absolute()),
            "cells": CELLS.dump_python(list(cells), mode="json"),
        }

    def _ask(self, what: str, cells: Sequence[Cell]) -> Any:
        worker = Worker()
        try:
            *_, answer = worker.ask(self.job(what, cells))
        finally:
            worker.end()
        return answer["result"]


class _Pool:
    """Threads that each take batch after batch and have it evaluated by a worker of their own.

    Args:
        owner: Whose cells they are.
        batches: All batches.
    """

    def __init__(self, owner: Processes, batches: Sequence[Batch]) -> None:
        self._owner = owner
        self._batches = deque(batches)
        self._news: SimpleQueue[tuple[str, Any, Any]] = SimpleQueue()
        self._lock, self._stopped = threading.Lock(), False
        self._workers: set[Worker] = set()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(owner.jobs, len(batches)))]

    def news(self) -> Iterator[tuple[str, Any, Any]]:
        """What happens until all batches are evaluated: ``share``, ``row``, ``crash`` or ``error``, cell, and value."""
        for thread in self._threads:
            thread.start()
        left = len(self._threads)
        while left:
            what, cell, value = self._news.get()
            if what == "end":
                left -= 1
            else:
                yield what, cell, value

    def end(self) -> None:
        """End all workers, whatever they are doing."""
        with self._lock:
            self._stopped = True
            for worker in self._workers:
                worker.kill()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _work(self) -> None:
        """Evaluate batches until none is left."""
        worker = None
        try:
            while self._batches and not self._stopped:
                with suppress(IndexError):  # another thread was faster
                    worker = self._evaluate(self._batches.popleft(), worker)
        except BaseException as error:  # passed on to the thread that waits for news
            self._news.put(("error", None, error))
        finally:
            self._end(worker)
            self._news.put(("end", None, None))

    def _evaluate(self, batch: Batch, worker: Worker | None) -> Worker | None:
        """Evaluate a batch; returns the worker for the next one."""
        left = deque(batch)
        while left and (worker := worker or self._start()) is not None:
            part, about = list(left)[: 1 if self._owner.isolate else None], None
            try:
                for answer in worker.ask(self._owner.job("rows", part)):
                    about = answer.get("about", about)
                    if "share" in answer:
                        self._news.put(("share", left[0], answer["share"]))
                    elif "row" in answer:
                        about = None
                        self._news.put(("row", left.popleft(), answer["row"]))
            except Crash as crash:
                if not self._stopped:
                    self._news.put(("crash", left.popleft(), (str(crash), about)))
                worker = self._end(worker)
            else:
                worker = self._end(worker) if self._owner.isolate else worker
        return worker

    def _start(self) -> Worker | None:
        """A new worker; None if all are to end."""
        with self._lock:
            if self._stopped:
                return None
            worker = Worker()
            self._workers.add(worker)
            return worker

    def _end(self, worker: Worker | None) -> Worker | None:
        """End a worker; there is none then."""
        if worker is not None:
            with self._lock:
                self._workers.discard(worker)
            worker.end()
        return None
