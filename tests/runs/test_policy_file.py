"""Exported policies come back as they were, and damaged ones are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import small

from agentcomm.base.errors import CheckpointError
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    run = small()
    policy = make_policy(run.policy, make_world(run.environment, 1), "team", 7)
    policy_file.save(tmp_path / "policy", policy, run.environment, run.policy, "team", 7, {"env_steps": 5})
    return tmp_path / "policy"


def test_weights_and_description_come_back(exported: Path) -> None:
    run = small()
    saved = policy_file.load(exported)
    fresh = make_policy(run.policy, make_world(run.environment, 1), "team", 7)
    assert all(torch.equal(v, saved.policy.state_dict()[k]) for k, v in fresh.state_dict().items())
    assert (saved.variant, saved.seed, saved.details) == ("team", 7, {"env_steps": 5})
    assert saved.environment == run.environment
    assert not list(exported.parent.glob(".tmp-*"))


def test_nothing_is_unpickled(exported: Path) -> None:
    assert {p.suffix for p in exported.iterdir()} == {".safetensors", ".json"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(exported: Path, value: float) -> None:
    weights = load_file(exported / "policy.safetensors")
    weights["actor.0.weight"][0, 0] = value
    save_file(weights, exported / "policy.safetensors")
    with pytest.raises(CheckpointError, match=r"actor\.0\.weight contains NaN"):
        policy_file.load(exported)


def test_truncated_files_are_refused(exported: Path) -> None:
    for name in ("policy.safetensors", "policy.json"):
        whole = (exported / name).read_bytes()
        (exported / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CheckpointError, match="damaged"):
            policy_file.load(exported)
        (exported / name).write_bytes(whole)


def test_misfits_are_refused(exported: Path) -> None:
    weights = load_file(exported / "policy.safetensors")
    save_file({k: v for k, v in weights.items() if k != "encoder.agent"}, exported / "policy.safetensors")
    with pytest.raises(CheckpointError, match=r"encoder\.agent missing"):
        policy_file.load(exported)
    save_file(weights | {"encoder.agent": torch.zeros(9, 16)}, exported / "policy.safetensors")
    with pytest.raises(CheckpointError, match=r"encoder\.agent has shape \[9, 16\], not \[3, 16\]"):
        policy_file.load(exported)
    about = json.loads((exported / "policy.json").read_text())
    (exported / "policy.json").write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        policy_file.load(exported)


def test_a_missing_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"policy\.json is missing"):
        policy_file.load(tmp_path)
