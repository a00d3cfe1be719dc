"""delay: a fixed delay, plus an independent exponentially distributed delay for each message."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput


class DelayConfig(ChannelConfig):
    """Arguments of ``delay``."""

    seconds: float = Field(0.1, ge=0, description="minimum delay, in seconds")
    jitter: float = Field(0.0, ge=0, description="mean of the additional exponential delay, in seconds")


class Delay(Channel[DelayConfig]):
    """Shifted exponential delay: mean ``seconds + jitter``, standard deviation ``jitter``."""

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A fixed delay, and one that varies."""
        return {"": {"seconds": 0.12}, "jitter": {"seconds": 0.0, "jitter": 0.15}}

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Draw the delay of each message."""
        seconds = self.config.seconds - self.config.jitter * torch.log1p(-entering.rand())
        return ChannelEffect(seconds=seconds.masked_fill(~entering.present, 0.0))
