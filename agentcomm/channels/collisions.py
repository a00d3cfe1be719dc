"""collisions: the more messages a receiver gets in an exchange, the more of them are lost.

Of m messages to one receiver each is lost with probability 1 - (1 - rho)^(m - 1), independently: each of the other
m - 1 messages disturbs it with probability ``rho``, as in slotted random access. A single message always arrives.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput


class CollisionsConfig(ChannelConfig):
    """Arguments of ``collisions``."""

    rho: float = Field(0.2, ge=0, le=1, description="probability that a message disturbs another one to its receiver")


class Collisions(Channel[CollisionsConfig]):
    """Losses among the messages of one receiver and exchange."""

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A rate that has an effect in a short conversation."""
        return {"": {"rho": 0.4}}

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Draw the losses."""
        others = entering.present.sum(-1, keepdim=True).sub(1).clamp_min(0)
        return ChannelEffect(lost=entering.present & (entering.rand() >= (1 - self.config.rho) ** others))
