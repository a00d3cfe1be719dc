"""Scripted teams whose messages pass the real message layer: who heard whom in an exchange."""

from __future__ import annotations

from typing import Any

import torch
from builders import channel, comms, team_shape
from torch import Tensor

from agentcomm.contracts.traffic import Links
from agentcomm.contracts.world import World


class Talk:
    """The network of B worlds over which every agent sends one message per exchange.

    Args:
        world: The worlds.
        links: Senders per receiver.
        channels: Channels with their arguments.
    """

    def __init__(self, world: World, links: int, seed: int = 0, **channels: dict[str, Any]) -> None:
        self.world = world
        shape = team_shape(world.num_worlds, world.num_agents, links, 4, 1)
        made = [channel(name, shape, links, **arguments) for name, arguments in channels.items()]
        self.network = comms(shape, channels=made, seed=seed)

    def heard(self, source: Tensor) -> Tensor:
        """[B, N, N] bool, whether receiver i heard sender j in an exchange over ``source``, [N, k] or [B, N, k]."""
        worlds, agents = self.world.num_worlds, self.world.num_agents
        source = source.expand(worlds, -1, -1)
        spoken = torch.zeros(worlds, agents, 4)
        links = Links(source, torch.ones(worlds, agents, dtype=torch.bool))
        inbox = self.network.network.exchange(spoken, links, self.world.length, 0)
        found = torch.zeros(worlds, agents, agents, dtype=torch.bool)
        return found.scatter(2, inbox.source, inbox.mask)


def random_graph(worlds: int, agents: int, links: int, seed: int = 0) -> Tensor:
    """[B, N, k] int64, a random graph per world of k senders per receiver."""
    keys = torch.rand(worlds, agents, agents, generator=torch.Generator().manual_seed(seed))
    return keys.masked_fill(torch.eye(agents, dtype=torch.bool), -1.0).topk(links, dim=2).indices


def full_graph(agents: int) -> Tensor:
    """[N, N - 1] int64."""
    return torch.tensor([[j for j in range(agents) if j != i] for i in range(agents)])


def within_error(values: Tensor, expected: float, sigmas: float = 4.0) -> None:
    """Fail unless the mean of independent values [...] is within some standard errors of what is expected."""
    values = values.float().flatten()
    error = float(values.std()) / len(values) ** 0.5
    assert abs(float(values.mean()) - expected) <= sigmas * error + 1e-6, (float(values.mean()), expected, error)
