"""Seeds: an independent seed for every purpose, derived from the seed of the run."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def derive(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose, such as ``derive(7, "world")``: stable, and unrelated between purposes.

    World, policy, channel, attack and defense each draw from their own generator, so that a clean and an
    attacked run share their episodes.
    """
    text = "/".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def fingerprint(module: nn.Module) -> str:
    """SHA-256 of all parameters and buffers of a module.

    It tells whether weights changed; and seeds derived from it cannot be computed without them.
    """
    found = hashlib.sha256()
    for name, value in module.state_dict().items():
        found.update(f"{name}/{value.dtype}/{tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()
