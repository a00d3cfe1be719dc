"""Exported policies: weights as safetensors, everything else as JSON; loading unpickles nothing."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from agentcomm.base.errors import CheckpointError
from agentcomm.base.files import new_folder
from agentcomm.base.versions import versions
from agentcomm.contracts.policy import CommPolicy
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import Variant

FORMAT = 1


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
    """Write ``policy.safetensors`` and ``policy.json`` into a new folder, atomically."""
    about = {
        "format": FORMAT,
        "environment": environment.model_dump(mode="json"),
        "policy": choice.model_dump(mode="json"),
        "variant": variant,
        "seed": seed,
        "versions": versions(),
        "details": details,
    }
    with new_folder(folder) as target:
        weights = {name: value.detach().cpu().contiguous() for name, value in policy.state_dict().items()}
        save_file(weights, target / "policy.safetensors")
        (target / "policy.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


def load(folder: Path, device: str = "cpu") -> SavedPolicy:
    """Load a policy and check every tensor.

    Raises:
        CheckpointError: If a file is missing or damaged, has another format, or contains numbers that are not finite.
    """
    try:
        about = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "policy.safetensors")
    except FileNotFoundError as error:
        raise CheckpointError(f"no policy in {folder}: {Path(error.filename or '').name} is missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise CheckpointError(
            f"the policy in {folder} is damaged ({error}); export it again by resuming the run"
        ) from None
    if about.get("format") != FORMAT:
        raise CheckpointError(f"the policy in {folder} has format {about.get('format')!r}; this version reads {FORMAT}")
    environment, choice = Choice.model_validate(about["environment"]), Choice.model_validate(about["policy"])
    with closing(make_world(environment, 1, device)) as world:
        policy = make_policy(choice, world, about["variant"], about["seed"])
    expected = policy.state_dict()
    if set(expected) != set(weights):
        odd = ", ".join(sorted(set(expected) ^ set(weights))[:3])
        raise CheckpointError(f"the policy in {folder} does not match its policy.json: {odd} missing or unexpected")
    for name, value in weights.items():
        if value.shape != expected[name].shape:
            raise CheckpointError(
                f"the policy in {folder}: {name} has shape {list(value.shape)}, not {list(expected[name].shape)}"
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(
                f"the policy in {folder}: {name} contains NaN or infinite numbers:"
                f" training diverged or the file is damaged"
            )
    policy.load_state_dict(weights)
    return SavedPolicy(policy, environment, choice, about["variant"], int(about["seed"]), about["details"])
