"""The device that a team is trained on."""

from __future__ import annotations

import torch

from agentcomm.base.errors import ConfigError


def device_of(name: str) -> torch.device:
    """The device for ``training.device``.

    Raises:
        ConfigError: If this machine does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type != "cuda":
        return device
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= found:
        there = f"it has {found} GPUs that torch can use" if found else "torch finds no GPU on it"
        raise ConfigError(
            f"training.device={name} is not on this machine: {there}; use training.device=auto for a GPU if there is"
            " one, or training.device=cpu"
        )
    return torch.device("cuda", device.index or 0)
