"""Training stops at a number that is not finite: the terminal says which, and the last checkpoint is good."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import rows
from small import small_data

from agentcomm.base import registry

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_running")]
ENVIRONMENT = """
from dataclasses import replace
from agentcomm.base.registry import find, register

@register("environment", "spoiled")
class Spoiled(find("environment", "predator_prey")):
    steps = 0

    def advance(self, actions, generator):
        Spoiled.steps += self.num_worlds == 16  # those of training
        done = super().advance(actions, generator)
        if Spoiled.steps < 20:
            return done
        reward = done.reward.clone()
        reward[5, 1] = float("nan")
        return replace(done, reward=reward)
"""
ERROR = "environment 'spoiled': reward of agent 'predator_1' in world 5, step"


def test_training_keeps_the_last_good_checkpoint(tmp_path: Path, command: Callable[..., Any]) -> None:
    (tmp_path / "spoiled.py").write_text(ENVIRONMENT)
    environment = {"name": "spoiled", "size": 3, "predators": 3, "max_steps": 6}
    own = {"plugins": ["spoiled"], "environment": environment, "control": False}
    data = small_data("training.env_steps=512", **own)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    said = command("train", "config.yaml", cwd=tmp_path, code=2)
    team = tmp_path / "runs" / "small" / "teams" / "team-0"
    assert f"error: team-0, iteration 3: {ERROR}" in said.stderr
    assert "The last checkpoint is runs/small/teams/team-0/checkpoints/iteration-000002; resume from it." in said.stderr
    assert [row["iteration"] for row in rows(team / "progress.jsonl")] == [1, 2]
    assert not list(team.glob("policy*"))
    (tmp_path / "spoiled.py").write_text(ENVIRONMENT.replace("20", "10**9"))
    del sys.modules["spoiled"], registry._registered["environment", "spoiled"]  # as in another process
    command("train", "config.yaml", "--resume", cwd=tmp_path)
    assert [row["iteration"] for row in rows(team / "progress.jsonl")] == [1, 2, 3, 4]
