"""Devices of torch: is the one that is asked for there?"""

from __future__ import annotations

import torch

from agentcomm.base.errors import ConfigError


def device_of(name: str, field: str) -> torch.device:
    """The device of a name; of ``auto``, a GPU if there is one.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or ``cuda:NUMBER``.
        field: What it was given for, in errors.

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
        there = f"torch finds {found or 'no'} GPU{'s' * (found > 1)} on this machine"
        raise ConfigError(f"{field} {name!r} cannot be used: {there}; use cpu")
    return torch.device("cuda", device.index or 0)
