"""Seeds: an independent seed for every purpose, derived from the seed of the run."""

from __future__ import annotations

import hashlib


def derive(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose, such as ``derive(7, "world")``: stable, and unrelated between purposes.

    World, policy, channel, attack and defense each draw from their own generator, so that a clean and an
    attacked run share their episodes.
    """
    text = "/".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
