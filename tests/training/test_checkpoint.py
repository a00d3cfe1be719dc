"""Checkpoints are whole or refused, say which file is damaged, and are read without pickle."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from small import ATTACKED, small

from agentcomm.base import manifest
from agentcomm.base.errors import CheckpointError
from agentcomm.base.manifest import MANIFEST
from agentcomm.training import checkpoint
from agentcomm.training.algorithm import CommPPOConfig

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_running")]
FILES = (MANIFEST, "state.json", "state.safetensors", "progress.jsonl")
ROW = '{"iteration": 1, "env_steps": 128, "seconds": 0.5}\n'
WEIGHTS = "learner/rl_module/default_policy/policy.actor.0.weight"


def build(*overrides: str, **fields: Any) -> Any:
    return CommPPOConfig().team(small(*overrides, **fields), "team", 0).build_algo()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after one iteration."""
    team = tmp_path_factory.mktemp("team")
    (team / "progress.jsonl").write_text(f'{ROW}{{"iteration": 2}}\n{{"iteration": 3, "ste')
    algorithm = build()
    algorithm.train()
    path = checkpoint.save(algorithm, team, keep=1)
    algorithm.stop()
    return path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    """The same for a test that damages it."""
    return Path(shutil.copytree(whole, tmp_path / whole.name))


@pytest.fixture(scope="module")
def fresh() -> Iterator[Any]:
    """An algorithm that has learned nothing, and does not take over anything that is refused."""
    algorithm = build()
    before = {name: value.clone() for name, value in weights(algorithm).items()}
    yield algorithm
    assert all(torch.equal(value, before[name]) for name, value in weights(algorithm).items())
    algorithm.stop()


def weights(algorithm: Any) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = algorithm.env_runner.module.policy.state_dict()
    return found


def reseal(path: Path, **facts: int) -> None:
    """Make a changed checkpoint whole again, as somebody could who wants it to be read."""
    stated = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).unlink()
    manifest.seal(
        path, checkpoint.CHECKPOINT, **{name: stated[name] for name in checkpoint.Facts.__annotations__} | facts
    )


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "one bit": flip,
}


def test_a_checkpoint_says_what_it_is(whole: Path) -> None:
    facts = checkpoint.check(whole)
    assert facts == checkpoint.Facts(iteration=1, env_steps=128, runners=0, threads=torch.get_num_threads())
    assert {file.name for file in whole.iterdir()} == set(FILES)
    assert (whole / "progress.jsonl").read_text() == ROW


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(path: Path, fresh: Any, name: str, damage: Callable[[Path], object]) -> None:
    damage(path / name)
    with pytest.raises(CheckpointError, match=rf"{name}.*delete this checkpoint to resume from an older one"):
        checkpoint.restore(fresh, path)


def test_additional_files_and_another_name_are_refused(path: Path, fresh: Any) -> None:
    renamed = path.rename(path.with_name("iteration-000007"))
    with pytest.raises(CheckpointError, match="is one of iteration 1: it was renamed"):
        checkpoint.restore(fresh, renamed)
    (renamed / "samplers.pkl").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"samplers\.pkl does not belong to a checkpoint"):
        checkpoint.restore(fresh, renamed)


def test_nothing_is_unpickled(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was unpickled")

    algorithm = build()
    for module in (pickle, cloudpickle):
        for name in ("load", "loads", "Unpickler"):
            monkeypatch.setattr(module, name, never, raising=False)
    monkeypatch.setattr(torch, "load", never)
    facts = checkpoint.restore(algorithm, whole)
    monkeypatch.undo()
    assert (algorithm.iteration, facts.env_steps) == (1, 128)
    stored = load_file(whole / "state.safetensors")[WEIGHTS]
    assert torch.equal(weights(algorithm)["actor.0.weight"], torch.as_tensor(stored))
    algorithm.stop()


class Bomb:
    """Executes code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_checkpoint_of_an_older_version_is_refused_and_not_executed(tmp_path: Path, fresh: Any) -> None:
    old, mark = tmp_path / "iteration-000001", tmp_path / "executed"
    for name in ("algorithm_state.pkl", "samplers.pkl", "learner_group/learner/state.pkl", "env_runner/state.pkl"):
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_bytes(pickle.dumps(Bomb(mark)))
    (old / "rllib_checkpoint.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"written by an older version of agentcomm.*pickles"):
        checkpoint.restore(fresh, old)
    for name in FILES[1:]:
        (old / name).write_bytes(pickle.dumps(Bomb(mark)))
    shutil.rmtree(old / "learner_group")
    shutil.rmtree(old / "env_runner")
    for name in ("algorithm_state.pkl", "samplers.pkl", "rllib_checkpoint.json"):
        (old / name).unlink()
    facts = {"iteration": 1, "env_steps": 1, "runners": 0, "threads": 1}
    manifest.seal(old, checkpoint.CHECKPOINT, **facts)
    with pytest.raises(CheckpointError, match=r"does not fit this team.*state\.json"):
        checkpoint.restore(fresh, old)
    assert not mark.exists()


def test_a_state_of_another_team_is_refused(path: Path, fresh: Any) -> None:
    reseal(path, runners=2)
    with pytest.raises(CheckpointError, match=r"training\.runners=2, not 0"):
        checkpoint.restore(fresh, path)
    reseal(path, runners=0)
    tensors, structure = load_file(path / "state.safetensors"), (path / "state.json").read_text()
    moment = "learner/optimizer/default_policy_default_optimizer/state/state/0/exp_avg"
    world = "runners/0/sampler/loop/world/length"
    for name in (WEIGHTS, moment, world):
        save_file(tensors | {name: np.zeros((7, 7), tensors[name].dtype)}, path / "state.safetensors")
        reseal(path)
        with pytest.raises(CheckpointError, match=rf"{name} has shape \[7, 7\]"):
            checkpoint.restore(fresh, path)
    save_file(tensors, path / "state.safetensors")
    for right, wrong, why in (
        ('"policy.actor.0.weight":', '"policy.actor.9.weight":', r"the weights: policy\.actor\.0\.weight is missing"),
        ('"weights_seq_no": 1', '"weights_seq_no": "1"', "weights_seq_no is a str, not a int"),
        ('"counters":', '"more":', "the state: counters is missing"),
        ('"runners": {"items": [[0,', '"runners": {"items": [[5,', "there is no env runner 5"),
    ):
        assert right in structure
        (path / "state.json").write_text(structure.replace(right, wrong, 1))
        reseal(path)
        with pytest.raises(CheckpointError, match=why):
            checkpoint.restore(fresh, path)


def test_all_state_of_attacks_defenses_and_transports_can_be_saved(tmp_path: Path) -> None:
    """Also that of real messages on a slow link, whose bytes are kept by round, step and place."""
    run = {**ATTACKED, "defenses": [{"name": "authenticate"}, {"name": "clip"}]}
    transport = {"carrier": "objects", "channels": [{"name": "delay", "seconds": 0.25}]}
    found = []
    algorithm = build(transport=transport, **run)
    algorithm.train()
    path = checkpoint.save(algorithm, tmp_path, keep=1)
    for restored in (algorithm, build(transport=transport, **run)):
        if restored is not algorithm:
            checkpoint.restore(restored, path)
        restored.train()
        found.append({name: value.clone() for name, value in weights(restored).items()})
        restored.stop()
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_tune_saves_and_restores_the_same_state(tmp_path: Path) -> None:
    algorithm = build()
    algorithm.train()
    saved = algorithm.save(str(tmp_path / "tune")).checkpoint.path
    other = build()
    other.restore(saved)
    assert other.iteration == 1
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(algorithm).items())
    assert {file.name for file in Path(saved, "team").iterdir()} == set(FILES)
    algorithm.stop()
    other.stop()
