"""Teams on a cluster of two nodes of which one is killed: they learn what they learn alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from small import small_data

from agentcomm import api
from agentcomm.runs.config import parse

QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
COMMAND = [sys.executable, "-c", "from agentcomm.cli.main import main; main()"]
TIMED = {"seconds", "env_steps_per_second"}

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def progress(run: Path, team: str) -> list[dict[str, Any]]:
    rows = lines(run / "teams" / team / "progress.jsonl")
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows]


@pytest.mark.timeout(900)
def test_a_node_is_killed_during_training(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster as Nodes

    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    settings = ("training.env_steps=5120", "training.checkpoint_every=5", "training.threads=1", "seeds=[0,1]")
    data = small_data(*settings)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data))
    node: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    nodes = Nodes(initialize_head=True, head_node_args=node)
    run = tmp_path / "runs" / "small"
    try:
        second = nodes.add_node(num_cpus=2, object_store_memory=100 * 2**20)
        process = subprocess.Popen(
            [*COMMAND, "train", "config.yaml", "--address", nodes.address],
            cwd=tmp_path,
            env=os.environ | QUIET,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            if len(list(run.glob("teams/*/checkpoints/iteration-*"))) >= 5:  # so of more than one node's two teams
                break
            time.sleep(0.1)
        nodes.remove_node(second, allow_graceful=False)
        said, _ = process.communicate(timeout=500)
    finally:
        nodes.shutdown()
    assert process.returncode == 0, said
    lost = [row["team"] for row in lines(run / "events.jsonl") if row["event"] == "process_lost"]
    assert lost, "the node was to be killed before its teams were trained"
    for team in lost:
        assert re.search(rf"^{team}: .*process \(.* (was lost|its node was lost)", said, re.MULTILINE), said
    assert {row["team"] for row in lines(run / "events.jsonl") if row["event"] == "resumed"} <= set(lost)

    alone = api.train(parse(data, "test config"), root=tmp_path / "alone").path
    for team in ("team-0", "control-0", "team-1", "control-1"):
        assert progress(run, team) == progress(alone, team)
        one, other = (load_file(at / "teams" / team / "policy" / "policy.safetensors") for at in (run, alone))
        assert all(torch.equal(one[name], other[name]) for name in one)
    print(f"lost {', '.join(lost)}; load {os.getloadavg()[0]:.1f}")
