"""airtime: of all messages of a sender in an exchange only one, to a random one of its listeners, arrives.

As with a directional antenna, a sender reaches one receiver at a time, so listeners compete for it: broadcasting to
many takes as many exchanges. Messages in one name share its airtime, and newcomers share one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput


class Airtime(Channel[ChannelConfig]):
    """One delivered message per sender and exchange."""

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """The one form."""
        return {"": {}}

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Draw a ticket for each message; the highest of each sender wins."""
        shape, sender = entering.present.shape, entering.sender.flatten(1)
        # Of double precision, so that no two tickets are the same.
        ticket = torch.rand(shape, generator=entering.generator, device=sender.device, dtype=torch.float64)
        ticket = ticket.masked_fill(~entering.present, -1.0).flatten(1)
        winner = ticket.new_full((shape[0], shape[1] + 1), -1.0).scatter_reduce(1, sender, ticket, "amax")
        return ChannelEffect(lost=entering.present & (ticket < winner.gather(1, sender)).view(shape))
