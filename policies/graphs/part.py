"""Helpers that topologies share, and a base for configs of parts of policies."""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.base.fields import Strict


class Part(Strict):
    """Arguments of a part of a policy."""


def others(num_agents: int, device: torch.device | None = None) -> Tensor:
    """[N, N - 1] int64, all agents but the receiver itself, in ascending order."""
    agents = torch.arange(num_agents, device=device)
    return (agents.unsqueeze(1) + 1 + agents[: num_agents - 1]).remainder(num_agents).sort(-1).values


def degree(density: float, num_agents: int, exactly: int | None = None) -> int:
    """Senders per receiver: k = ``exactly`` or else max(int(N * density), 1), at most N - 1."""
    return min(max(int(num_agents * density), 1) if exactly is None else exactly, num_agents - 1)
