"""Cells in processes of their own: the same rows, and a crash is one cell's failure."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from small import small

from agentcomm import api
from agentcomm.base.errors import ConformanceError
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.folder import Run, create, teams

CRASHES = """
import os, signal, time
import torch
from agentcomm.base.registry import register
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel


class Crash(Attack):
    def threat_model(self):
        return ThreatModel(Position(kind="edge"), frozenset({"read", "drop"}), budget=self.config.budget)

    def on_messages(self, view):
        self.end()
        return MessageEdits(drop=view.reach.clone())

    def end(self):
        pass


@register("attack", "quits")
class Quits(Crash):
    def end(self):
        os._exit(3)


@register("attack", "killed")
class Killed(Crash):
    def end(self):
        os.kill(os.getpid(), signal.SIGKILL)


@register("attack", "hangs")
class Hangs(Crash):
    def end(self):
        open("hanging-%d" % os.getpid(), "w").close()
        time.sleep(600)


@register("attack", "drops")
class Drops(Crash):
    pass


@register("attack", "oversteps")
class Oversteps(Crash):
    def threat_model(self):
        return ThreatModel(Position(kind="edge"), frozenset({"read"}), budget=self.config.budget)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """An untrained team, in a folder with a module of plug-ins."""
    (tmp_path / "crashing_plugins.py").write_text(CRASHES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "crashing_plugins", raising=False)
    from agentcomm.base import registry

    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    run = create(small("control=false", plugins=["crashing_plugins"]), tmp_path)
    config = run.config
    for variant, seed in teams(config):
        policy = make_policy(config.policy, make_world(config.environment, 1), variant, seed)
        policy_file.save(run.policy(variant, seed), policy, config.environment, config.policy, variant, seed, {})
    return run


def same(rows: list[dict[str, Any]]) -> str:
    return json.dumps([{k: v for k, v in row.items() if k not in ("seconds", "time")} for row in rows])


def test_a_crash_is_its_cells_failure_and_the_others_are_the_same(run: Run) -> None:
    """Rows and recordings; a process takes seconds to start, so the cells of one grid show it all."""
    under = {"gates": ["random"]}
    rows = api.evaluate(run, ["quits", "killed", "drops"], (), under, isolate=True)
    recorded = (run.path / "episodes.json").read_text()
    error = {row["attack"]["name"]: row["error"] for row in rows if row["status"] == "failed"}
    assert error.keys() == {"quits", "killed"}
    assert error["quits"].startswith("its process ended with exit code 3")
    assert error["killed"].startswith("its process was ended by SIGKILL (out of memory?)")
    run.cells.unlink()
    together = api.evaluate(run, ["drops"], (), under)
    assert len(together) == 3
    assert same([row for row in rows if row["status"] == "ok"]) == same(together)
    assert recorded == (run.path / "episodes.json").read_text()


def test_plugins_are_checked_there_too(run: Run) -> None:
    with pytest.raises(ConformanceError, match=r"attack 'oversteps'.*breaks the contract"):
        api.evaluate(run, ["oversteps"], isolate=True)
    assert not run.cells.exists()


def test_ctrl_c_ends_the_command_and_the_cells_process(run: Run, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from agentcomm.cli.main import main; main()"]
    process = subprocess.Popen(
        [*command, "evaluate", str(run.path), "--attack", "hangs", "--isolate"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (hanging := list(tmp_path.glob("hanging-*"))) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    assert hanging, process.communicate(timeout=10)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Stopped; finished cells are saved" in out
    assert "Traceback" not in err
    with pytest.raises(ProcessLookupError):
        os.kill(int(hanging[0].name.partition("-")[2]), 0)
