"""The shape of a team, which attacks, defenses, channels and codecs are built for."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.discrete import NO_CHOICE


@dataclass(frozen=True)
class TeamShape:
    """The shape of a team in B worlds.

    Attributes:
        num_worlds: B.
        num_agents: N.
        degree: k, links per receiver.
        width: D, width of payloads.
        rounds: Exchanges of messages per step.
        device: Device of all tensors.
        actions: What its agents can do.
    """

    num_worlds: int
    num_agents: int
    degree: int
    width: int
    rounds: int
    device: torch.device
    actions: ActionSpace = NO_CHOICE
