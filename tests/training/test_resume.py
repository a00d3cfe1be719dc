"""Runs are resumed: trained for longer, exported again, or refused with nothing changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small import small

from agentcomm import api
from agentcomm.base.errors import AgentcommError, CheckpointError, RunError
from agentcomm.runs import policy_file
from agentcomm.runs.config import RunConfig
from agentcomm.runs.folder import Run, open_run
from agentcomm.training import checkpoint

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_running")]


def config(*overrides: str) -> RunConfig:
    return small("control=false", *overrides)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run of two iterations."""
    root = tmp_path_factory.mktemp("whole")
    api.train(config(), root=root)
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    """The same for a test that writes into it."""
    return Path(shutil.copytree(whole, tmp_path / "root"))


def team(root: Path) -> Path:
    return root / "small" / "teams" / "team-0"


def resume(root: Path, *overrides: str) -> Run:
    return api.train(config(*overrides), root=root, resume=True)


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def refused(root: Path, why: str, *overrides: str, error: type[AgentcommError] = RunError) -> None:
    before = content(root)
    with pytest.raises(error, match=why):
        resume(root, *overrides)
    assert content(root) == before


def rows(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (team(root) / "progress.jsonl").read_text().splitlines()]


def events(root: Path, name: str) -> list[dict[str, Any]]:
    found = map(json.loads, (root / "small" / "events.jsonl").read_text().splitlines())
    return [event for event in found if event["event"] == name]


@pytest.mark.parametrize("damage", ["missing", "no weights", "one bit"])
def test_a_policy_is_exported_again_from_the_checkpoint(root: Path, whole: Path, damage: str) -> None:
    policy = team(root) / "policy"
    if damage == "missing":
        shutil.rmtree(policy)
    elif damage == "no weights":
        (policy / "policy.safetensors").unlink()
    else:
        changed = bytearray((policy / "policy.safetensors").read_bytes())
        changed[-1] ^= 1
        (policy / "policy.safetensors").write_bytes(changed)
        with pytest.raises(CheckpointError, match="export it again by resuming the run"):
            policy_file.load(open_run(root / "small").policy("team", 0))
    resume(root)
    weights = "policy/policy.safetensors"
    assert (team(root) / weights).read_bytes() == (team(whole) / weights).read_bytes()
    assert rows(root) == rows(whole)


def test_progress_comes_from_the_checkpoint(root: Path, whole: Path) -> None:
    """A cut last line, a forged one and a missing file change nothing, and nothing is trained again."""
    progress = team(root) / "progress.jsonl"
    text = progress.read_text()
    for damaged in (text[:-20], text.replace('"env_steps": 256', '"env_steps": 1'), "", None):
        progress.unlink() if damaged is None else progress.write_text(damaged)
        shutil.rmtree(team(root) / "policy")
        resume(root)
        assert progress.read_text() == text
        assert (team(root) / "policy" / "policy.safetensors").read_bytes() == (
            team(whole) / "policy" / "policy.safetensors"
        ).read_bytes()
    assert len(checkpoint.found(team(root))) == 2


def test_a_trained_team_is_trained_for_longer(root: Path, whole: Path) -> None:
    run = resume(root, "training.env_steps=512", "training.threads=1")
    assert [row["env_steps"] for row in rows(root)] == [128, 256, 384, 512]
    assert rows(root)[:2] == rows(whole)
    assert rows(root)[-1]["seconds"] > rows(root)[1]["seconds"]
    assert policy_file.load(run.policy("team", 0)).details["env_steps"] == 512
    assert open_run(run.path).config.training.env_steps == 512
    [event] = events(root, "resumed")
    assert (event["checkpoint"], event["env_steps"], event["threads"]) == ("iteration-000002", 256, 1)
    assert event["threads_before"] >= 1
    before = content(team(root))
    resume(root, "training.env_steps=512", "training.threads=1")  # nothing is left to train
    assert content(team(root)) == before


def test_a_team_that_is_to_be_trained_longer_is_not_trained_yet(root: Path) -> None:
    run = open_run(root / "small")
    assert run.trained() == [("team", 0)]
    assert Run(run.path, config("training.env_steps=512")).trained() == []


def test_training_cannot_become_shorter_than_it_was(root: Path) -> None:
    refused(root, "env_steps=128 is less than the 256 env steps that team-0 has already", "training.env_steps=128")
    shutil.rmtree(team(root) / "policy")
    refused(root, "env_steps=128 is less than the 256 env steps that team-0 has already", "training.env_steps=128")


def test_another_config_is_refused(root: Path) -> None:
    refused(root, r"differs in training\.worlds\)", "training.worlds=32", "seeds=[0, 5]", "training.env_steps=512")
    refused(root, r"differs in policy, training\.ppo\)", "policy.width=8", "training.ppo.gamma=0.5")
    before = content(root)
    with pytest.raises(RunError, match="already holds a run"):
        api.train(config("training.env_steps=512"), root=root)
    assert content(root) == before


def test_a_damaged_checkpoint_stops_a_resume_before_anything_is_changed(root: Path) -> None:
    newest = checkpoint.found(team(root))[-1]
    (newest / "state.safetensors").write_bytes(b"")
    longer = "training.env_steps=512"
    refused(root, r"iteration-000002 is damaged: state\.safetensors is empty", longer, error=CheckpointError)
    shutil.rmtree(newest)  # as the message advises
    resume(root, longer)
    assert [row["env_steps"] for row in rows(root)] == [128, 256, 384, 512]
    assert events(root, "resumed")[0]["checkpoint"] == "iteration-000001"


def test_without_a_checkpoint_nothing_is_trained_again_silently(root: Path) -> None:
    shutil.rmtree(team(root) / "checkpoints")
    refused(root, "team-0 has been trained for 256 env steps and left no checkpoint", "training.env_steps=512")
    (team(root) / "policy" / "policy.json").unlink()
    refused(root, r"policy\.json is missing.*but there is no checkpoint.*delete", error=CheckpointError)


@pytest.mark.parametrize("name", ["teams/team-0/progress.jsonl", "teams/team-0/checkpoints", "teams", "events.jsonl"])
def test_links_out_of_the_run_are_refused(root: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(root / "small" / name, elsewhere)
    (root / "small" / name).symlink_to(elsewhere)
    refused(root, f"{name} is a link that leads out of the run's folder", "training.env_steps=512")
