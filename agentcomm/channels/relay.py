"""relay: messages between agents that are not neighbors are forwarded hop by hop."""

from __future__ import annotations

from math import ceil
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.traffic import HOPS

Layout = Literal["line", "ring", "grid"]


class RelayConfig(ChannelConfig):
    """Arguments of ``relay``."""

    layout: Layout = Field("line", description="positions of the agents: a line, a ring, or a square grid, row by row")
    loss: float = Field(0.0, ge=0, le=1, description="probability that a message is lost on a hop")
    seconds: float = Field(0.01, ge=0, description="delay of a hop, in seconds")
    limit: int = Field(HOPS, ge=1, description="largest number of hops, besides the limit in the message itself")


class Relay(Channel[RelayConfig]):
    """Messages take the shortest path; a newcomer is a neighbor of every agent."""

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Each layout."""
        return {
            "": {"loss": 0.2, "seconds": 0.06, "limit": 2},
            "ring": {"layout": "ring", "loss": 0.1, "seconds": 0.06},
            "grid": {"layout": "grid", "loss": 0.1, "seconds": 0.06},
        }

    def __init__(self, config: RelayConfig, team_shape: TeamShape, slots: int) -> None:
        super().__init__(config, team_shape, slots)
        # [N + 1 senders, N receivers]; messages in the receiver's own name come from a neighbor
        between = distances(config.layout, team_shape.num_agents).to(team_shape.device).clamp(min=1)
        self._hops = torch.nn.functional.pad(between, (0, 0, 0, 1), value=1)

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Lose and delay messages by their number of hops."""
        hops = self._hops[entering.sender, entering.receiver] * entering.present
        too_far = hops > entering.hops.clamp(max=self.config.limit)
        arrives = entering.rand() < (1 - self.config.loss) ** hops.float()
        return ChannelEffect(
            lost=entering.present & (too_far | ~arrives), seconds=hops * self.config.seconds, hops=hops
        )


def distances(layout: Layout, agents: int) -> Tensor:
    """[N, N] int64, number of hops between any two agents."""
    place = torch.arange(agents)
    apart = (place.unsqueeze(1) - place).abs()
    if layout == "line":
        return apart
    if layout == "ring":
        return torch.minimum(apart, agents - apart)
    columns = ceil(agents**0.5)
    at = torch.stack([place.div(columns, rounding_mode="floor"), place % columns])
    return (at.unsqueeze(2) - at.unsqueeze(1)).abs().sum(0)
