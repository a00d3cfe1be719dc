"""Calibration of a defense: what it learns from clean episodes, and its hand-over to other instances."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from agentcomm.base.calling import calling
from agentcomm.base.errors import RequirementError
from agentcomm.base.seeds import derive
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.examples import Examples

Learned = dict[str, Any]  # attributes by name


def learn(defense: Defense, examples: Examples, seed: int) -> Learned:
    """Calibrate a defense.

    Args:
        defense: The defense.
        examples: Messages of clean episodes.
        seed: Seeds ``examples.generator`` and, in this call, torch's global generator.

    Returns:
        What it has learned, for :func:`take_over` by instances of the same class and config for the same team.

    Raises:
        HookError: If its code fails.
    """
    own = derive(seed, "calibrate", defense.name, defense.config.model_dump_json())
    generator = torch.Generator(examples.generator.device).manual_seed(own)
    before = dict(vars(defense))
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), calling(f"defense {defense.name!r}", "calibrate"):
        torch.manual_seed(own)
        defense.calibrate(replace(examples, generator=generator))
    defense.calibrated = True
    return {name: value for name, value in vars(defense).items() if name not in before or before[name] is not value}


def take_over(defense: Defense, learned: Learned) -> None:
    """Give a defense what another instance has learned."""
    vars(defense).update(learned)


def require_calibrated(defense: Defense) -> None:
    """Refuse to judge messages without a calibration.

    Raises:
        RequirementError: If the defense needs a calibration and has none.
    """
    if defense.calibration and not defense.calibrated:
        raise RequirementError(
            f"defense {defense.name!r} judges messages by what it learns from {defense.calibration} clean episodes of"
            " the team, and has not been calibrated; evaluate it with `agentcomm evaluate`, which does so, or call"
            " agentcomm.contracts.calibrating.learn"
        )
