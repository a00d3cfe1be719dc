"""The sizes that an attack, a defense, a channel or a codec may plan with."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class TeamShape:
    """The shape of a team: B worlds, N agents, k links per receiver and payloads of width D.

    Attributes:
        num_worlds: B.
        num_agents: N.
        degree: k.
        width: D.
        rounds: Exchanges of messages per step.
        device: Where tensors live.
    """

    num_worlds: int
    num_agents: int
    degree: int
    width: int
    rounds: int
    device: torch.device
