"""delay: messages take a fixed time and, each on its own, a random one (exponential) on top."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput


class DelayConfig(ChannelConfig):
    """Arguments of ``delay``."""

    seconds: float = Field(0.1, ge=0, description="seconds that every message takes at least")
    jitter: float = Field(0.0, ge=0, description="mean of the exponentially distributed seconds on top")


class Delay(Channel[DelayConfig]):
    """Shifted exponential delay: mean ``seconds + jitter``, standard deviation ``jitter``."""

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A fixed delay, and one that varies."""
        return {"": {"seconds": 0.12}, "jitter": {"seconds": 0.0, "jitter": 0.15}}

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Draw for each message."""
        seconds = self.config.seconds - self.config.jitter * torch.log1p(-entering.rand())
        return ChannelEffect(seconds=seconds.masked_fill(~entering.present, 0.0))
