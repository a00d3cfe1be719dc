"""Exported policies come back as they were, and damaged ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import small

from agentcomm.base import manifest
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


def reseal(folder: Path) -> None:
    """Make changed files whole again, as somebody could who wants them to be read."""
    (folder / "manifest.json").unlink()
    manifest.seal(folder, policy_file.POLICY)


def test_nothing_is_unpickled(exported: Path) -> None:
    assert {p.suffix for p in exported.iterdir()} == {".safetensors", ".json"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(exported: Path, value: float) -> None:
    weights = load_file(exported / "policy.safetensors")
    weights["actor.0.weight"][0, 0] = value
    save_file(weights, exported / "policy.safetensors")
    reseal(exported)
    with pytest.raises(CheckpointError, match=r"actor\.0\.weight contains NaN"):
        policy_file.load(exported)


@pytest.mark.parametrize("name", ["policy.safetensors", "policy.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "one bit"])
def test_damaged_files_are_refused(exported: Path, name: str, damage: str) -> None:
    path = exported / name
    whole = path.read_bytes()
    half = len(whole) // 2
    flipped = whole[:half] + bytes([whole[half] ^ 4]) + whole[half + 1 :]
    path.write_bytes({"missing": b"", "empty": b"", "cut": whole[:half], "one bit": flipped}[damage])
    if damage == "missing":
        path.unlink()
    with pytest.raises(CheckpointError, match=rf"damaged: {name}.*resuming the run"):
        policy_file.load(exported)


def test_misfits_are_refused(exported: Path) -> None:
    weights = load_file(exported / "policy.safetensors")
    save_file({k: v for k, v in weights.items() if k != "encoder.agent"}, exported / "policy.safetensors")
    reseal(exported)
    with pytest.raises(CheckpointError, match=r"encoder\.agent missing"):
        policy_file.load(exported)
    save_file(weights | {"encoder.agent": torch.zeros(9, 16)}, exported / "policy.safetensors")
    reseal(exported)
    with pytest.raises(CheckpointError, match=r"encoder\.agent has shape \[9, 16\], not \[3, 16\]"):
        policy_file.load(exported)
    (exported / "policy.safetensors").write_bytes(b"\x80\x04\x95 a pickle")
    reseal(exported)
    with pytest.raises(CheckpointError, match="damaged"):
        policy_file.load(exported)


@pytest.mark.parametrize("wrong", [{"seed": "x"}, {"variant": "both"}, {"more": 1}, {"policy": 3}])
def test_a_description_of_another_form_is_refused(exported: Path, wrong: dict[str, Any]) -> None:
    about = json.loads((exported / "policy.json").read_text())
    (exported / "policy.json").write_text(json.dumps(about | wrong))
    reseal(exported)
    with pytest.raises(CheckpointError, match=rf"policy\.json.*\n.*{next(iter(wrong))}"):
        policy_file.load(exported)


def test_a_policy_of_an_older_version_is_refused_as_such(exported: Path) -> None:
    about = json.loads((exported / "policy.json").read_text())
    (exported / "policy.json").write_text(json.dumps({"format": 1} | about))
    (exported / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"older version of agentcomm.*train the team again"):
        policy_file.load(exported)


def test_a_missing_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no policy in .*nowhere"):
        policy_file.load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"manifest\.json is missing"):
        policy_file.load(tmp_path)
