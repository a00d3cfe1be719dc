"""my_channel: all messages are lost at night."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput


class MyChannelConfig(ChannelConfig):
    """Arguments of ``my_channel``."""

    day: int = Field(6, ge=1, description="steps of a day; the night is as long")


class MyChannel(Channel[MyChannelConfig]):
    """Depends on the step of the episode only."""

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """What happens to the messages of an exchange, [B, N, M]."""
        night = entering.step % (2 * self.config.day) >= self.config.day
        return ChannelEffect(lost=entering.present & night.view(-1, 1, 1))
