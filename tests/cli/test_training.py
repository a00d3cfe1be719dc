"""``agentcomm train``, its interruptions, and commands on what it has trained."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from processes import agentcomm, rows, start
from safetensors.torch import load_file
from small import small_data, untrained
from thinning import thinned

from agentcomm.cli.train import learned
from agentcomm.runs.config import parse
from benchmarks.plain_loop import PlainLoop

Command = Callable[..., Any]
pytestmark = pytest.mark.ray
PLUGIN = """
from agentcomm.base.registry import register
from attacks.external.drop import Drop, DropConfig

class GentleConfig(DropConfig):
    probability: float = 0.1

@register("attack", "gentle")
class Gentle(Drop):
    Config = GentleConfig
    name = "gentle"
"""
BROKEN = """
from agentcomm.base.registry import register
from envs.gridworld.predator_capture_prey import PredatorCapturePrey

@register("environment", "licensed")
class Licensed(PredatorCapturePrey):
    def advance(self, actions, generator):
        if self.num_worlds == 16:  # those of training
            raise ConnectionError("licence server does not answer")
        return super().advance(actions, generator)
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with config.yaml and a trained run ``small`` of one team and its control."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "config.yaml").write_text(yaml.safe_dump(small_data("training.evaluate_every=1")), encoding="utf-8")
    said = agentcomm("train", "config.yaml", cwd=folder)
    assert "agentcomm evaluate runs/small" in said.stdout
    assert re.search(r"team-0: 256 env steps; return -?\d.*, episode length \d.*, success [01]", said.stdout)
    assert "control-0: 256 env steps; return" in said.stdout
    assert said.stderr == ""
    return folder


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """The same for a test that writes into it."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def test_training_leaves_what_is_promised(trained: Path) -> None:
    run = trained / "runs" / "small"
    progress = rows(run / "teams" / "team-0" / "progress.jsonl")
    assert [r["env_steps"] for r in progress] == [128, 256]
    assert all(r["first_ratio_error"] < 1e-5 and "eval_mean_steps" in r for r in progress)
    assert list((run / "teams" / "team-0" / "tensorboard").glob("events.out.tfevents.*"))
    events = [row["event"] for row in rows(run / "events.jsonl")]
    assert events[0] == "training_started"
    assert events[-1] == "training_finished"
    assert not list(run.rglob(".tmp-*"))
    details = json.loads((run / "teams" / "team-0" / "policy" / "policy.json").read_text())["details"]
    assert details["threads"] == [[1, 1]]  # one from iteration 1 on
    assert details["runner_restarts"] == 0


def test_the_last_numbers_of_every_team_are_shown(tmp_path: Path) -> None:
    run = untrained(tmp_path)
    progress = run.team("team", 0) / "progress.jsonl"
    row = {"iteration": 1, "env_steps": 4096, "seconds": 1.0}
    scores = {"episode_return": -0.5, "episode_length": 6.25, "success": 1.0}
    progress.write_text(json.dumps(row) + "\n" + json.dumps(row | {"env_steps": 8192} | scores) + "\n")
    (run.team("control", 0) / "progress.jsonl").write_text(json.dumps(row) + "\n")
    assert learned(run) == [
        "team-0: 8,192 env steps; return -0.50, episode length 6.25, success 1.00",
        "control-0: 4,096 env steps; not every world has finished an episode",
    ]


@pytest.mark.usefixtures("ray_running")
def test_a_module_of_ones_own_is_found_beside_the_config(tmp_path: Path, command: Command) -> None:
    """By a remote runner, too."""
    (tmp_path / "my_attacks.py").write_text(PLUGIN)
    own = {"plugins": ["my_attacks"], "attacks": [{"name": "gentle"}], "control": False}
    data = small_data("training.runners=1", "training.env_steps=128", **own)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    command("train", "config.yaml", cwd=tmp_path)
    progress = rows(tmp_path / "runs" / "small" / "teams" / "team-0" / "progress.jsonl")
    assert progress[0]["first_ratio_error"] < 1e-5
    assert 0 < progress[0]["messages_dropped"] < progress[0]["messages_sent"]
    said = command("evaluate", "runs/small", "--attack", "gentle:probability=1", cwd=tmp_path)
    assert "gentle(probability=1)" in said.stdout


@pytest.mark.usefixtures("ray_running")
def test_what_an_environment_raises_in_a_remote_runner_ends_training(tmp_path: Path, command: Command) -> None:
    """In the terminal and in the run's events, with file and line."""
    (tmp_path / "licensed.py").write_text(BROKEN)
    environment = {"name": "licensed", "max_steps": 8}
    data = small_data("training.runners=1", plugins=["licensed"], environment=environment)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    said = command("train", "config.yaml", cwd=tmp_path, code=2)
    assert "ConnectionError: licence server does not answer" in said.stderr
    assert "licensed.py, line 9" in said.stderr
    found = rows(tmp_path / "runs" / "small" / "events.jsonl")
    assert [row["event"] for row in found][-4:] == ["runner_failed"] * 3 + ["training_failed"]
    assert "licence server does not answer" in str(found[-1]["error"])
    assert not list((tmp_path / "runs" / "small").rglob("checkpoints/*"))


def test_evaluate_and_report(copied: Path, command: Command) -> None:
    said = command("evaluate", "runs/small", "--attack", "drop", "--defense", "clip", cwd=copied)
    assert "retrained without messages" in said.stdout
    assert "drop" in said.stdout
    said = command("report", "runs/small", cwd=copied)
    assert "runs/small/report.html" in said.stdout.replace("\n", "")
    assert (copied / "runs" / "small" / "report.html").stat().st_size > 10_000


def test_a_second_run_into_the_same_folder_is_refused(trained: Path, command: Command) -> None:
    said = command("train", "config.yaml", cwd=trained, code=2)
    assert "already holds a run" in said.stderr
    assert "--resume" in said.stderr
    said = command("train", "config.yaml", "training.worlds=32", "--resume", cwd=trained, code=2)
    assert "differs in training.worlds" in said.stderr


@pytest.mark.usefixtures("ray_running")
def test_a_run_can_be_given_more_seeds(copied: Path, command: Command) -> None:
    teams = copied / "runs" / "small" / "teams"
    before = (teams / "team-0" / "policy" / "policy.safetensors").read_bytes()
    command("train", "config.yaml", "seeds=[0, 5]", "control=false", "--resume", cwd=copied)
    assert (teams / "team-5" / "policy" / "policy.json").exists()
    assert (teams / "team-0" / "policy" / "policy.safetensors").read_bytes() == before
    assert "seeds: [0, 5]" in (copied / "runs" / "small" / "config.yaml").read_text(encoding="utf-8")
    command("train", "config.yaml", "--resume", cwd=copied)  # nothing is left to train


# Every start of a process takes seconds. That SIGTERM stops training with a checkpoint is also tested below.
@pytest.mark.parametrize("stops", thinned([1, 2], [1]))
def test_a_stopped_and_a_killed_run_resume_from_their_last_checkpoint(
    tmp_path: Path, command: Command, stops: int
) -> None:
    """Stopped by Ctrl-C, then by SIGTERM. What is learned in the end is what the plain loop learns without a break."""
    data = small_data("training.env_steps=3840", "training.checkpoint_every=4", control=False)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    team = tmp_path / "runs" / "small" / "teams" / "team-0"
    progress = team / "progress.jsonl"

    again = ("train", "config.yaml", "--resume")
    done = 0
    for number, words in ((signal.SIGINT, again[:2]), (signal.SIGTERM, again))[:stops]:
        process = start(*words, cwd=tmp_path, progress=progress, iterations=done + 3)
        os.killpg(process.pid, number)  # as a terminal and `timeout` do: to every process of the group
        out, err = process.communicate(timeout=60)
        assert process.returncode == 128 + number, (out, err)
        assert "--resume" in out
        done = len(rows(progress))
        assert [p.name for p in sorted((team / "checkpoints").iterdir())][-1] == f"iteration-{done:06d}"

    process = start(*again, cwd=tmp_path, progress=progress, iterations=done + 5)  # past the next checkpoint
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert len(rows(progress)) < 30
    (team / "checkpoints" / ".tmp-half").mkdir()
    with progress.open("a") as file:
        file.write('{"iteration": 99, "env_st')

    said = command(*again, cwd=tmp_path)
    assert not re.search("Traceback|WARNING", said.stdout + said.stderr)
    resumed = [row for row in rows(tmp_path / "runs" / "small" / "events.jsonl") if row["event"] == "resumed"]
    assert [row["threads"] for row in resumed] == [1] * (stops + 1)
    assert not list(team.rglob(".tmp-*"))
    assert [row["env_steps"] for row in rows(progress)] == [128 * number for number in range(1, 31)]
    plain = PlainLoop(parse(data, "test config"))
    for _ in range(30):
        plain.iterate()
    found, expected = load_file(team / "policy" / "policy.safetensors"), plain.policy.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_teams_side_by_side_stop_and_leave_nothing_behind(tmp_path: Path) -> None:
    data = small_data("training.env_steps=128000", "training.checkpoint_every=1000", control=False, seeds=[0, 1])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    teams = tmp_path / "runs" / "small" / "teams"
    command = ("train", "config.yaml", "--jobs", "2")
    process = start(*command, cwd=tmp_path, progress=teams / "team-1" / "progress.jsonl", iterations=2)
    started = psutil.Process(process.pid).children(recursive=True)
    (session,) = {w.partition("=")[2] for p in started for w in p.cmdline() if w.startswith("--session_dir=")}
    os.killpg(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, (out, err)
    assert "agentcomm train runs/small/config.yaml --resume --jobs 2" in out
    assert err == ""
    trained = [team for team in teams.iterdir() if (team / "progress.jsonl").exists()]
    assert teams / "team-1" in trained
    for team in trained:
        done = len(rows(team / "progress.jsonl"))
        assert [path.name for path in (team / "checkpoints").iterdir()] == [f"iteration-{done:06d}"]
    assert not Path(session).parent.exists()
    _, left = psutil.wait_procs(started, timeout=60)
    assert not left
