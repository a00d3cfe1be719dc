"""Arguments of a directory."""

from __future__ import annotations

from pydantic import Field

from agentcomm.base.fields import Strict

# Steps for which a request that is left half open occupies the hub, the one in which it arrives included.
HALF_OPEN_STEPS = 4


class DirectoryConfig(Strict):
    """Arguments of a directory."""

    slots: int = Field(16, ge=1, le=4096, description="cards it can hold")
    newcomers: int = Field(12, ge=1, le=4096, description="identities that outsiders can have")
    capacity: int = Field(6, ge=1, description="requests it serves per step")
    listed: int = Field(3, ge=1, le=16, description="cards named in an answer")
    reputation_weight: float = Field(0.5, ge=0, description="what full reputation is worth, in claimed skill")
    prior: float = Field(1.0, gt=0, description="good and bad outcomes that everybody is taken to begin with")
    obedience: float = Field(0.0, ge=0, le=1, description="chance that a directive in a description is followed")
