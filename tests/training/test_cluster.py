"""Cells as tasks of a Ray cluster: nothing is lost with a node, and nothing is there twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import yaml
from small import untrained

from agentcomm import api
from agentcomm.evaluation.cells import plan
from agentcomm.evaluation.identity import Identities
from agentcomm.runs.choices import Choice
from agentcomm.runs.folder import Run
from agentcomm.training import cluster
from agentcomm.training.cluster import Cluster

TIMED = {"seconds", "time", "provenance"}
ATTACKS, DEFENSES = ["drop", "noise", "replay"], ["clip", "authenticate"]
QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.ray


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows]


def cells_of(run: Run) -> list[Any]:
    attacks = [Choice(name=name) for name in ATTACKS]
    return plan(run, attacks, [], run.config.evaluation.expand(run.config.transport))


def test_a_task_needs_no_common_disk(tmp_path: Path) -> None:
    run = untrained(tmp_path, "control=false")
    cells = cells_of(run)[:2]
    files = Cluster(run, "auto")._files(cells)
    assert sorted(files) == [
        "run/config.yaml",
        *(f"run/teams/team-0/policy/{name}" for name in ("manifest.json", "policy.json", "policy.safetensors")),
    ]
    expected = [Identities(run).of(cell) for cell in cells]
    shutil.move(run.path, tmp_path / "elsewhere")
    answer = cluster._evaluate(files, cluster.CELLS.dump_python(cells, mode="json"))
    assert "error" not in answer, answer
    assert answer["identities"] == expected
    assert [row["status"] for row in answer["rows"]] == ["ok", "ok"]


def test_lost_tasks_are_submitted_again_until_the_cell_that_ends_them_is_known(tmp_path: Path) -> None:
    run = untrained(tmp_path, "control=false")
    evaluator, cells, todo = Cluster(run, "auto"), cells_of(run), deque()
    todo.append(cluster._Task(cells))
    failed = []
    for _ in range(100):
        if not todo:
            break
        task = todo.popleft()
        if cells[1] in task.cells:
            failed += evaluator._again(task, RuntimeError("gone. And more"), todo)
    assert [cell for cell, _ in failed] == [cells[1]]
    row = failed[0][1]
    assert (row["status"], row["error"]) == ("failed", "its task was lost 3 times, the last time with: gone")


@pytest.mark.slow
def test_a_node_is_killed_during_a_grid(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster as Nodes

    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    for name in ("one", "two"):
        untrained(tmp_path / name, "seeds=[0,1]", "evaluation.episodes=2048", "environment.max_steps=20")
    grid = {"name": "grid", "attacks": ATTACKS, "defenses": DEFENSES, "episodes": 2048}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid | {"runs": ["two/small"]}))
    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    nodes = Nodes(initialize_head=True, head_node_args=node)
    try:
        second = nodes.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        command = [sys.executable, "-c", "from agentcomm.cli.main import main; main()", "grid", "grid.yaml"]
        process = subprocess.Popen(
            [*command, "--address", nodes.address],
            cwd=tmp_path,
            env=os.environ | QUIET,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        cells = tmp_path / "two" / "small" / "cells.jsonl"
        deadline = time.monotonic() + 200
        while not cells.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        done = len(cells.read_text().splitlines())
        nodes.remove_node(second, allow_graceful=False)
        said, _ = process.communicate(timeout=280)
    finally:
        nodes.shutdown()
    assert process.returncode == 0, said
    api.evaluate(tmp_path / "one" / "small", ATTACKS, DEFENSES)
    expected = rows_of(tmp_path / "one" / "small" / "cells.jsonl")
    assert done < len(expected), "the node was to be killed before the end"
    assert rows_of(cells) == expected
    print(f"killed after {done} of {len(expected)} cells; load {os.getloadavg()[0]:.1f}")
