"""loss: every message is lost with the same probability, whatever became of the others."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput


class LossConfig(ChannelConfig):
    """Arguments of ``loss``."""

    probability: float = Field(0.1, ge=0, le=1, description="chance that a message is lost")


class Loss(Channel[LossConfig]):
    """Independent loss."""

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Losing often enough to be seen in a short conversation."""
        return {"": {"probability": 0.3}}

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Draw for each message."""
        return ChannelEffect(lost=entering.present & (entering.rand() < self.config.probability))
