"""Evaluates every cell in a process of its own: a plug-in cannot spoil another cell, nor end the command.

If a process ends early (``os._exit``, a segmentation fault, no memory left), its cell has failed, and its row says how
it ended. Rows are otherwise the same as without isolation. A process takes some seconds to start.

Modules named in the config's ``plugins`` are imported by the command itself, too. Plug-ins that a script registers are
found by their modules, but not those of the script that was started.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from agentcomm.base import errors, registry
from agentcomm.base.errors import AgentcommError, ConfigError, RunError, SeveralErrors
from agentcomm.base.files import write_text
from agentcomm.base.inputs import looking_in
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.grid import Evaluator
from agentcomm.evaluation.setup import Rows
from agentcomm.runs.config import RunConfig
from agentcomm.runs.folder import Run, open_run

CELLS = TypeAdapter(list[Cell])
COMMAND = [sys.executable, "-c", "from agentcomm.evaluation.isolate import main; main()"]


class Crash(RunError):
    """A process ended without an answer.

    Args:
        how: How it ended.
        about: The fields of the cell's row that it had written down, if it came that far.
    """

    def __init__(self, how: str, about: dict[str, Any] | None = None) -> None:
        super().__init__(how)
        self.about = about


class Isolated(Evaluator):
    """Evaluates each cell in a process of its own; the others of its methods run in one, too.

    Args:
        run: The run.
        check: Function to check plug-ins with before any cell is evaluated, as ``module:function``; it takes the run's
            config, attacks, defenses and transports. None for no check.
    """

    def __init__(self, run: Run, check: str | None = None) -> None:
        super().__init__(run)
        self.check = check

    def misfits(self, cells: Sequence[Cell]) -> dict[str, str]:
        """As in this process, but a crash is left to the cell that causes it."""
        try:
            found: dict[str, str] = self._ask("misfits", cells, {})
        except Crash:
            return {}
        return found

    def row(self, cell: Cell, known: Rows, tell: Callable[[float], None] = lambda share: None) -> dict[str, Any]:
        """Evaluate a cell; a crash marks it as failed."""
        needed = known if cell.conditions.gates == "random" else {}
        try:
            row: dict[str, Any] = self._ask("row", [cell], needed)
        except Crash as crash:
            about = self.about(cell) if crash.about is None else crash.about
            return about | {"status": "failed", "error": str(crash), "seconds": 0.0}
        return row

    def record(self, cells: Sequence[Cell], known: Rows) -> None:
        """Record scenes of the cells for the player.

        Raises:
            RunError: If the process crashed.
        """
        try:
            self._ask("record", cells, known)
        except Crash as crash:
            raise RunError(
                f"all cells are evaluated, but scenes for the player could not be recorded: {crash}"
            ) from None

    def _ask(self, what: str, cells: Sequence[Cell], known: Rows) -> Any:
        """Do something in a process of its own.

        Raises:
            Crash: If the process ended without an answer.
            AgentcommError: As raised there.
        """
        with tempfile.TemporaryDirectory(prefix="agentcomm-") as folder:
            files = {name: str(Path(folder) / name) for name in ("about", "answer")}
            job = {
                "what": what,
                "check": self.check,
                "run": str(self.run.path.absolute()),
                "cells": CELLS.dump_python(list(cells), mode="json"),
                "known": known,
                "threads": torch.get_num_threads(),
                "modules": registry.registered_modules(),
            }
            code, said = _run(json.dumps(job | files))
            answer, about = (_read(Path(files[name])) for name in ("answer", "about"))
        if answer is None:
            raise Crash(f"its process {_ended(code)}{said and f': {said}'}", about)
        if "error" in answer:
            name, text = answer["error"]
            raise getattr(errors, name, RunError)(text)
        return answer["value"]


def _run(job: str) -> tuple[int, str]:
    """Start a process with a job, and wait for it; its exit status, and the last line of its errors.

    It has a session of its own, so that Ctrl-C reaches this process only, which then ends it.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stderr=said, env=environment, start_new_session=True, text=True
        )
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):  # it is gone already; its exit status says why
                process.stdin.write(job + "\n")
                process.stdin.flush()
            code = process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()
        said.seek(0)
        lines = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    return code, lines[-1].strip()[:200] if lines else ""


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def main() -> None:
    """The process of one cell: reads its job from standard input."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(job["threads"])
    try:
        for module in job["modules"]:
            importlib.import_module(module)
        answer = {"value": _answer(job)}
    except AgentcommError as error:
        kind = ConfigError if isinstance(error, SeveralErrors) else type(error)  # the text has all mistakes
        answer = {"error": [kind.__name__, str(error)]}
    write_text(Path(job["answer"]), json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)  # whatever threads plug-ins left behind


def _answer(job: dict[str, Any]) -> Any:
    run = open_run(job["run"], trust=True)  # the command that asks has the user's consent
    with looking_in(run.places()):
        return _asked(job, Evaluator(run), CELLS.validate_python(job["cells"]))


def _asked(job: dict[str, Any], evaluator: Evaluator, cells: list[Cell]) -> Any:
    if job["what"] == "misfits":
        if job["check"] is not None:
            _check(job["check"], evaluator.run.config, cells)
        return evaluator.misfits(cells)
    if job["what"] == "record":
        return evaluator.record(cells, job["known"])
    write_text(Path(job["about"]), json.dumps(evaluator.about(cells[0])))
    return evaluator.row(cells[0], job["known"])


def _check(function: str, config: RunConfig, cells: list[Cell]) -> None:
    """Check the plug-ins of some cells."""
    module, _, name = function.partition(":")
    attacks = [cell.attack for cell in cells if cell.attack is not None]
    defenses = [defense for cell in cells for defense in cell.defenses]
    transports = [cell.conditions.transport for cell in cells]
    getattr(importlib.import_module(module), name)(config, attacks, defenses, transports)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, which closes standard input."""
    sys.stdin.read()
    os._exit(1)
