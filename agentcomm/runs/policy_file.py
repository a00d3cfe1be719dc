"""Exported policies: weights as safetensors, everything else as JSON; loading unpickles nothing.

A policy's folder contains ``policy.safetensors``, ``policy.json`` and a manifest of both
(:mod:`agentcomm.base.manifest`).
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from agentcomm.base import inputs, manifest
from agentcomm.base.documents import read_json
from agentcomm.base.errors import AgentcommError, CheckpointError
from agentcomm.base.fields import Strict
from agentcomm.base.files import new_folder
from agentcomm.base.manifest import FolderFormat
from agentcomm.base.versions import versions
from agentcomm.contracts.policy import CommPolicy
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import Variant
from agentcomm.runs.settle import changed_paths

ABOUT, WEIGHTS = "policy.json", "policy.safetensors"


def _is_old(folder: Path) -> bool:
    """Before format 2, ``policy.json`` held the number of the format, and there was no manifest."""
    try:
        return "format" in read_json(folder / ABOUT, None, ABOUT, folder)
    except (OSError, AgentcommError):
        return False


POLICY = FolderFormat(
    kind="policy",
    number=2,
    files=frozenset({ABOUT, WEIGHTS}),
    remedy="export it again by resuming the run (agentcomm train <run>/config.yaml --resume)",
    is_old=_is_old,
    old_remedy="train the team again",
)


class About(Strict):
    """Content of ``policy.json``; paths in it start from ``folder``, in which it was written, or its present one."""

    folder: str
    environment: Choice
    policy: Choice
    variant: Variant
    seed: int
    versions: dict[str, str]
    details: dict[str, Any]

    @property
    def env_steps(self) -> int | None:
        """Env steps of training, if the details say them."""
        steps = self.details.get("env_steps")
        return steps if isinstance(steps, int) else None


@dataclass(frozen=True)
class SavedPolicy:
    """A policy, and how it was trained."""

    policy: CommPolicy
    environment: Choice
    choice: Choice
    variant: Variant
    seed: int
    details: dict[str, Any]


def save(
    folder: Path,
    policy: CommPolicy,
    environment: Choice,
    choice: Choice,
    variant: Variant,
    seed: int,
    details: dict[str, Any],
) -> None:
    """Write a policy into a new folder, atomically."""
    environment = changed_paths("environment", environment, lambda path: inputs.portable(path, folder))
    about = About(
        folder=str(folder.absolute()),
        environment=environment,
        policy=choice,
        variant=variant,
        seed=seed,
        versions=versions(),
        details=details,
    )
    with new_folder(folder) as target:
        weights = {name: value.detach().cpu().contiguous() for name, value in policy.state_dict().items()}
        save_file(weights, target / WEIGHTS)
        (target / ABOUT).write_text(json.dumps(about.model_dump(mode="json"), indent=1), encoding="utf-8")
        manifest.seal(target, POLICY)


def read_about(folder: Path) -> About:
    """Check every file of a policy's folder, and read what the policy is.

    Raises:
        CheckpointError: If a file is missing or damaged, or has another format.
    """
    if not folder.exists():
        raise CheckpointError(f"no policy in {folder}: the folder does not exist")
    manifest.check(folder, POLICY)
    what = f"{ABOUT} of the policy in {folder}"
    return About.model_validate(read_json(folder / ABOUT, About, what, folder, CheckpointError))


def load(folder: Path, device: str = "cpu") -> SavedPolicy:
    """Load a policy and check every tensor.

    Raises:
        CheckpointError: If a file is missing or damaged, has another format, or contains numbers that are not finite.
    """
    about = read_about(folder)
    here = (folder, Path(about.folder))
    environment = changed_paths("environment", about.environment, lambda path: _found(path, here))
    with closing(make_world(environment, 1, device)) as world:
        policy = make_policy(about.policy, world, about.variant, about.seed)
    weights = _weights(folder, policy.state_dict())
    policy.load_state_dict(weights)
    return SavedPolicy(policy, environment, about.policy, about.variant, about.seed, about.details)


def _found(path: str, folders: tuple[Path, ...]) -> str:
    """The absolute form of a recorded path, which must not lead out of a run that somebody else made."""
    return str(inputs.find_input(inputs.located(path, folders)))


def _weights(folder: Path, expected: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights in a folder. Names and shapes are compared with the expected ones before tensors are read."""
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"the policy in {folder} is damaged ({error}); {POLICY.remedy}") from None
    if set(expected) != set(shapes):
        odd = ", ".join(sorted(set(expected) ^ set(shapes))[:3])
        raise CheckpointError(f"the policy in {folder} does not match its {ABOUT}: {odd} missing or unexpected")
    for name, shape in shapes.items():
        if shape != list(expected[name].shape):
            raise CheckpointError(f"the policy in {folder}: {name} has shape {shape}, not {list(expected[name].shape)}")
    weights: dict[str, torch.Tensor] = load_file(folder / WEIGHTS)
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(
                f"the policy in {folder}: {name} contains NaN or infinite numbers:"
                f" training diverged or the file is damaged"
            )
    return weights
