"""Checkpoints of a team in training: written atomically, whole or refused, and read without pickle.

A checkpoint is a folder ``iteration-<number>`` with

* ``state.json`` and ``state.safetensors`` (:mod:`agentcomm.base.arrays`): weights, optimizers and generator of the
  learner, the sampling state of every env runner, and RLlib's lifetime counters;
* ``progress.jsonl``: the team's progress up to this iteration, so that a damaged or cut progress file can be restored;
* ``manifest.json`` (:mod:`agentcomm.base.manifest`): sizes and hashes of these files, iteration, env steps, runners and
  threads.

A team that resumes from a checkpoint learns bit by bit what it would have learned without the break.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME, WEIGHTS_SEQ_NO

from agentcomm.base import arrays, manifest
from agentcomm.base.documents import read_rows
from agentcomm.base.errors import CheckpointError
from agentcomm.base.files import new_folder, write_text
from agentcomm.base.manifest import FolderFormat
from agentcomm.training.env_runner import COMPONENT_SAMPLER
from agentcomm.training.learner import SHUFFLE

PREFIX = "iteration-"
PROGRESS = "progress.jsonl"
STRUCTURE, ARRAYS = "state.json", "state.safetensors"
RLLIB_FILES = ("rllib_checkpoint.json", "algorithm_state.pkl", "class_and_ctor_args.pkl")
CHECKPOINT = FolderFormat(
    kind="checkpoint",
    number=2,
    files=frozenset({STRUCTURE, ARRAYS, PROGRESS}),
    remedy="delete this checkpoint to resume from an older one",
    is_old=lambda folder: any((folder / name).exists() for name in RLLIB_FILES),
    old_remedy="its pickles could execute code. Start a new run, or delete the team's folder to train it again",
)
# Parts of the learner's state; its metrics are not among them, because they are sent on in every iteration.
LEARNER_PARTS = (COMPONENT_RL_MODULE, COMPONENT_OPTIMIZER, SHUFFLE, WEIGHTS_SEQ_NO)


class ProgressRow(BaseModel):
    """What every line of ``progress.jsonl`` contains, besides measurements."""

    iteration: int
    env_steps: int
    seconds: float


@dataclass(frozen=True)
class Facts:
    """What the manifest of a checkpoint says about it.

    Attributes:
        iteration: Iterations before it.
        env_steps: Env steps of the team before it.
        runners: Number of remote env runners.
        threads: Torch threads of the learner.
    """

    iteration: int
    env_steps: int
    runners: int
    threads: int


def folder(team: Path) -> Path:
    """Folder of a team's checkpoints."""
    return team / "checkpoints"


def found(team: Path) -> list[Path]:
    """All complete checkpoints of a team, oldest first."""
    named = [path for path in folder(team).glob(f"{PREFIX}*") if re.fullmatch(rf"{PREFIX}\d{{6,18}}", path.name)]
    return sorted(named, key=lambda path: int(path.name.removeprefix(PREFIX)))


def latest(team: Path) -> Path | None:
    """The newest complete checkpoint."""
    return next(reversed(found(team)), None)


def check(path: Path) -> Facts:
    """Check every file of a checkpoint.

    Raises:
        CheckpointError: If it is damaged or was written by another version.
    """
    stated = manifest.check(path, CHECKPOINT)
    values = [stated.get(name) for name in Facts.__annotations__]
    counts = [value for value in values if isinstance(value, int) and value >= 0]
    if len(counts) != len(values):
        raise CheckpointError(f"checkpoint {path}: {manifest.MANIFEST} is incomplete; {CHECKPOINT.remedy}")
    facts = Facts(*counts)
    if path.name.startswith(PREFIX) and path.name != f"{PREFIX}{facts.iteration:06d}":
        raise CheckpointError(
            f"checkpoint {path} is one of iteration {facts.iteration}: it was renamed; {CHECKPOINT.remedy}"
        )
    return facts


def save(algorithm: Any, team: Path, keep: int) -> Path:
    """Write a checkpoint, and then remove all but the newest ``keep``."""
    path = folder(team) / f"{PREFIX}{algorithm.iteration:06d}"
    with new_folder(path) as target:
        write(algorithm, target, team / PROGRESS)
    keep_newest(team, keep)
    return path


def write(algorithm: Any, target: Path, progress: Path | None = None) -> None:
    """Write the files of a checkpoint into an empty folder.

    Args:
        algorithm: A :class:`~agentcomm.training.algorithm.CommPPO`.
        target: The folder.
        progress: The team's progress so far.
    """
    arrays.save(_state(algorithm), target / STRUCTURE, target / ARRAYS)
    rows = [] if progress is None else read_rows(progress, ProgressRow, f"progress {progress}")[0]
    write_text(target / PROGRESS, _lines(rows))
    steps = algorithm.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
    facts = Facts(algorithm.iteration, int(steps), algorithm.config.num_env_runners, torch.get_num_threads())
    manifest.seal(target, CHECKPOINT, **vars(facts))


def restore(algorithm: Any, path: Path) -> Facts:
    """Load a checkpoint into a freshly built algorithm.

    Raises:
        CheckpointError: If it is damaged, fits another config, or contains numbers that are not finite.
    """
    facts = check(path)
    if facts.runners != algorithm.config.num_env_runners:
        raise CheckpointError(
            f"checkpoint {path} is one of training.runners={facts.runners}, not {algorithm.config.num_env_runners}"
        )
    try:
        _follow(algorithm, facts.env_steps)
        state = arrays.load(path / STRUCTURE, path / ARRAYS, _expected(algorithm))
        _set_state(algorithm, state, facts.iteration)
    except Exception as error:  # torch and RLlib raise many kinds for a state that does not fit
        _follow(algorithm, 0)
        raise CheckpointError(
            f"checkpoint {path} does not fit this team ({type(error).__name__}: {error}); {CHECKPOINT.remedy}"
        ) from error
    for name, value in algorithm.env_runner.module.policy.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(
                f"checkpoint {path}: {name} contains NaN or infinite numbers; training diverged or the file is damaged."
                f" Delete it to resume from an older one, or start again with a smaller training.ppo.learning_rate"
            )
    return facts


def left_in(team: Path) -> str:
    """What is left of a team whose training failed, in a sentence."""
    kept = latest(team)
    return "There is no checkpoint yet." if kept is None else f"The last checkpoint is {kept}; resume from it."


def keep_newest(team: Path, number: int) -> None:
    """Remove all but the newest checkpoints of a team."""
    for old in found(team)[:-number]:
        shutil.rmtree(old)


def restore_progress(path: Path, team: Path) -> dict[str, Any] | None:
    """Set a team's progress back to that of a checkpoint; returns its last row."""
    rows, _ = read_rows(path / PROGRESS, ProgressRow, f"progress {path / PROGRESS}", path)
    write_text(team / PROGRESS, _lines(rows))
    return rows[-1] if rows else None


def clean(team: Path) -> None:
    """Remove incomplete files of a killed process."""
    for stray in [*folder(team).glob(".tmp-*"), *team.glob(".tmp-*")]:
        shutil.rmtree(stray, ignore_errors=True) if stray.is_dir() else stray.unlink()


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _state(algorithm: Any) -> dict[str, Any]:
    """Everything that later iterations depend on."""
    learner = algorithm.learner_group.get_state()[COMPONENT_LEARNER]
    counters = {
        key: {"sum": float(stats["lifetime_sum"]), "throughput": bool(stats["track_throughputs"])}
        for key, stats in algorithm.metrics.get_state()["stats"].items()
        if stats["stats_cls_identifier"] == "lifetime_sum"
    }
    return {
        "learner": {name: learner[name] for name in LEARNER_PARTS},
        "runners": _runners(algorithm),
        "counters": counters,
    }


def _runners(algorithm: Any) -> dict[int, Any]:
    """Sampling state of the runners that sample, by number; 0 is the local one. A dead runner has none."""
    states = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: (runner.worker_index or 0, runner.get_state(components=[COMPONENT_SAMPLER])),
        local_env_runner=not algorithm.config.num_env_runners,
    )
    return dict(states)


def _follow(algorithm: Any, env_steps: int) -> None:
    """Let graphs and message layers of the runners have the size that they have after so many steps."""
    progress = env_steps / algorithm.config.env_config["run"]["training"]["env_steps"]
    algorithm.env_runner_group.foreach_env_runner(lambda r: r.broken or r.module.policy.anneal(progress))


def _expected(algorithm: Any) -> dict[str, Any]:
    """A state with the types and shapes that a checkpoint must have."""
    state = _state(algorithm)
    shapes = algorithm.learner_group.foreach_learner(lambda learner: learner.parameter_shapes())
    for name, parameters in next(iter(shapes)).get().items():
        moments = {n: np.broadcast_to(np.float32(0), shape) for n, shape in enumerate(parameters)}
        optimizer = state["learner"][COMPONENT_OPTIMIZER][name]["state"]
        optimizer["state"] = {n: {"step": 0.0, "exp_avg": m, "exp_avg_sq": m} for n, m in moments.items()}
    return state


def _set_state(algorithm: Any, state: dict[str, Any], iteration: int) -> None:
    """Set the state of a freshly built algorithm.

    Raises:
        ValueError: If it is that of another team.
    """
    ours, weights = _state(algorithm), state["learner"][COMPONENT_RL_MODULE]
    _same_keys("the state", state, ours)
    _same_keys("the learner's state", state["learner"], ours["learner"])
    _same_keys("the modules", weights, ours["learner"][COMPONENT_RL_MODULE])
    _same_keys("the weights", weights[DEFAULT_MODULE_ID], ours["learner"][COMPONENT_RL_MODULE][DEFAULT_MODULE_ID])
    _same_keys("the optimizers", state["learner"][COMPONENT_OPTIMIZER], ours["learner"][COMPONENT_OPTIMIZER])
    if odd := state["runners"].keys() - ours["runners"].keys():
        raise ValueError(f"there is no env runner {min(odd)}")
    algorithm.learner_group.set_state({COMPONENT_LEARNER: state["learner"]})
    # Sequence number 0 forces: RLlib's own synchronization leaves runners with their first weights here.
    common = {COMPONENT_RL_MODULE: weights, WEIGHTS_SEQ_NO: 0}
    states, group = state["runners"], algorithm.env_runner_group

    def restore_runner(runner: Any) -> int:
        runner.set_state(common | states.get(runner.worker_index or 0, {}))
        return int(runner.worker_index or 0)

    reached = set(group.foreach_env_runner(restore_runner))
    expected = {0, *range(1, algorithm.config.num_env_runners + 1)}
    if reached != expected:  # RLlib only logs errors of remote runners
        raise ValueError(f"env runners {sorted(expected - reached)} could not be restored; see ray.log")
    if algorithm.eval_env_runner_group is not None:
        algorithm.eval_env_runner_group.foreach_env_runner(lambda runner: runner.set_state(common))
    algorithm.metrics.set_state({"stats": {key: _counter(value) for key, value in state["counters"].items()}})
    algorithm._iteration = iteration


def _same_keys(what: str, state: dict[str, Any], expected: dict[str, Any]) -> None:
    if odd := state.keys() ^ expected.keys():
        raise ValueError(f"{what}: {min(map(str, odd))} is missing or unexpected")


def _counter(value: dict[str, Any]) -> dict[str, Any]:
    """A counter as the state of RLlib's lifetime sum."""
    return {
        "stats_cls_identifier": "lifetime_sum",
        "is_root": True,
        "is_leaf": False,
        "latest_merged": None,
        "lifetime_sum": float(value["sum"]),
        "track_throughputs": bool(value["throughput"]),
    }
