"""clip: shorten payloads that are longer than an honest sender's can be.

Honest tokens leave a layer normalization without gain, so their length is exactly sqrt(D). Shortening
what is longer bounds how much one message can weigh. It is free on clean traffic, and says nothing about
a lie of the right length. The score is how far a payload reaches beyond the allowed length.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.verdicts import Delivered, Verdicts


class ClipConfig(DefenseConfig):
    """Arguments of ``clip``."""

    radius: float = Field(1.0, gt=0, description="allowed length, in units of sqrt(payload width)")


class Clip(Defense[ClipConfig]):
    """Scales payloads back to the allowed length."""

    order = "content"
    answers = ("aa.l3.cross_agent_input_detection",)
    adaptive = ("rewrite:epsilon=4.0,adaptive=true", "noise:adaptive=true")
    refuses = False
    differentiable = True
    changes_payloads = True

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Scale down payloads longer than the radius; 1% of slack keeps rounding out of it."""
        limit = self.config.radius * self.team_shape.width**0.5
        length = delivered.payload.norm(dim=-1)
        too_long = (length > 1.01 * limit) & delivered.present
        beyond = torch.nan_to_num(length / limit - 1.01, torch.finfo(length.dtype).max).clamp_min(0.0)
        if not bool(too_long.any()):
            return Verdicts(score=beyond)
        return Verdicts(scale=(limit / length.clamp_min(limit)).masked_fill(~too_long, 1.0), score=beyond)
