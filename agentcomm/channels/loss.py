"""loss: every message is lost independently with the same probability."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput


class LossConfig(ChannelConfig):
    """Arguments of ``loss``."""

    probability: float = Field(0.1, ge=0, le=1, description="probability that a message is lost")


class Loss(Channel[LossConfig]):
    """Independent loss."""

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A loss rate that has an effect in a short conversation."""
        return {"": {"probability": 0.3}}

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Draw the losses."""
        return ChannelEffect(lost=entering.present & (entering.rand() < self.config.probability))
