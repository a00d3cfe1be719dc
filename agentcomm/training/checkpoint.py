"""Checkpoints of a team in training, written atomically.

They are RLlib checkpoints and contain pickles, so resume only what you trained yourself. Share the exported policy
(``agentcomm/runs/policy_file.py``) instead, which contains none.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from agentcomm.base.errors import CheckpointError
from agentcomm.base.files import new_folder

PREFIX = "iteration-"


def folder(team: Path) -> Path:
    """Folder of a team's checkpoints."""
    return team / "checkpoints"


def latest(team: Path) -> Path | None:
    """The newest complete checkpoint."""
    found = sorted(folder(team).glob(f"{PREFIX}*"))
    return found[-1] if found else None


def iteration(path: Path) -> int:
    """Number of iterations before a checkpoint."""
    return int(path.name.removeprefix(PREFIX))


def save(algorithm: Any, team: Path, keep: int) -> Path:
    """Write a checkpoint, and then remove all but the newest ``keep``."""
    path = folder(team) / f"{PREFIX}{algorithm.iteration:06d}"
    with new_folder(path) as target:
        algorithm.save_to_path(str(target.resolve()))
    for old in sorted(folder(team).glob(f"{PREFIX}*"))[:-keep]:
        shutil.rmtree(old)
    return path


def restore(algorithm: Any, path: Path) -> None:
    """Load a checkpoint into a freshly built algorithm.

    Raises:
        CheckpointError: If it is damaged or contains numbers that are not finite.
    """
    try:
        algorithm.restore_from_path(str(path.resolve()))
    except Exception as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be restored ({type(error).__name__}: {error});"
            f" delete it to resume from an older one"
        ) from error
    for name, value in algorithm.env_runner.module.policy.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(
                f"checkpoint {path}: {name} contains NaN or infinite numbers; training diverged or the file is damaged."
                f" Delete it to resume from an older one, or start again with a smaller training.ppo.learning_rate"
            )


def clean(team: Path) -> None:
    """Remove incomplete files of a killed process."""
    for stray in [*folder(team).glob(".tmp-*"), *team.glob(".tmp-*")]:
        shutil.rmtree(stray, ignore_errors=True) if stray.is_dir() else stray.unlink()
