"""The worker process of :mod:`agentcomm.evaluation.processes`: reads jobs from standard input, answers over a pipe."""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue
from typing import Any

import torch
from pydantic import TypeAdapter

from agentcomm.base.errors import AgentcommError, ConfigError, SeveralErrors
from agentcomm.base.inputs import looking_in
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.grid import Evaluator
from agentcomm.runs.config import RunConfig
from agentcomm.runs.folder import open_run

CELLS = TypeAdapter(list[Cell])
Say = Callable[[dict[str, Any]], None]


def main() -> None:
    """Answer jobs until standard input ends, which it does when the command is gone."""
    jobs: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()
    channel = int(sys.argv[1])
    os.set_inheritable(channel, False)
    torch.set_num_threads(1)
    with open(channel, "w", encoding="utf-8") as answers:

        def say(answer: dict[str, Any]) -> None:
            answers.write(json.dumps(answer) + "\n")
            answers.flush()

        while True:
            job = json.loads(jobs.get())
            try:
                say({"result": _do(job, say)})
            except AgentcommError as error:
                kind = ConfigError if isinstance(error, SeveralErrors) else type(error)  # the text has all mistakes
                say({"error": [kind.__name__, str(error)]})
            sys.stdout.flush()


def _read(jobs: SimpleQueue[str]) -> None:
    """Pass on jobs; ends the process with the last one."""
    for line in sys.stdin:
        jobs.put(line)
    os._exit(1)


def _do(job: dict[str, Any], say: Say) -> Any:
    for module in job["modules"]:
        importlib.import_module(module)
    evaluator, cells = _evaluator(job["run"]), CELLS.validate_python(job["cells"])
    with looking_in(evaluator.run.places()):
        if job["what"] == "misfits":
            if job["check"] is not None:
                _check(job["check"], evaluator.run.config, cells)
            return evaluator.misfits(cells)
        if job["what"] == "record":
            return evaluator.record(cells)
        return _evaluate(evaluator, cells, say)


@cache
def _evaluator(path: str) -> Evaluator:
    return Evaluator(open_run(path, trust=True))  # the command that asks has the user's consent


def _evaluate(evaluator: Evaluator, cells: list[Cell], say: Say) -> None:
    """Say the known part of each cell's row before it is evaluated, then its progress, and its row."""

    def tell(cell: Cell, share: float) -> None:
        say({"share": share} if share else {"share": 0.0, "about": evaluator.about(cell)})

    for _, row in evaluator.rows([cells], tell):
        say({"row": row})


def _check(function: str, config: RunConfig, cells: list[Cell]) -> None:
    """Check the plug-ins of some cells."""
    module, _, name = function.partition(":")
    attacks = [cell.attack for cell in cells if cell.attack is not None]
    defenses = [defense for cell in cells for defense in cell.defenses]
    transports = [cell.conditions.transport for cell in cells]
    getattr(importlib.import_module(module), name)(config, attacks, defenses, transports)
