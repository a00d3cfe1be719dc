"""slow_drift: move what is said a little further in every step, along the direction that harms the receivers.

Aimed at defenses that compare a message with what was said before, or with what is normal: ``drift_alarm``,
``hold_last``, ``outliers``, ``reconstruct``, ``gaussian_process``. Each move stays below what they notice, and becomes
part of the past that the next message is compared with: a window that is filled under attack calls the attack normal
(Kloft and Laskov, "Online anomaly detection under adversarial impact", AISTATS 2010). Payloads stay within ``radius``,
which also passes ``clip``. The attack ``drift`` moves in a random direction instead, and knows no defense.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.views import MessageView
from attacks.adaptive.base import Adaptive, AdaptiveConfig, steepest


class SlowDriftConfig(AdaptiveConfig):
    """Arguments of ``slow_drift``; lengths are in units of sqrt(payload width)."""

    stride: float = Field(0.15, gt=0, description="how much further a message moves from one step to the next")
    deviation: float = Field(1.0, gt=0, description="largest distance from what the sender said")
    radius: float = Field(1.0, gt=0, description="largest length of a changed payload that was not longer before")


class SlowDrift(Adaptive[SlowDriftConfig]):
    """Adds an offset to each message that grows step by step."""

    risks = ("aa.l3.cognitive_drift",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """On all links."""
        return {"": {"stride": 0.3}}

    def memory(self) -> dict[str, Tensor]:
        """``offset``: [B, rounds, N, k, D], what is added to each message of a round."""
        s = self.team_shape
        return {"offset": torch.zeros(s.num_worlds, s.rounds, s.num_agents, s.degree, s.width, device=s.device)}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Move every offset by one stride."""
        c, degree, unit = self.config, self.team_shape.degree, view.width**0.5
        offset = view.memory["offset"][:, view.round]
        reach = view.reach[..., :degree].unsqueeze(-1)
        moved = offset + c.stride * unit * steepest(view)[..., :degree, :]
        moved = moved * (c.deviation * unit / moved.norm(dim=-1, keepdim=True).clamp_min(c.deviation * unit))
        offset.copy_(torch.where(reach, moved, offset))
        change = torch.zeros_like(view.payload)
        change[..., :degree, :] = torch.where(reach, offset, 0.0)
        return MessageEdits(modify=self.drawn(view), change=self.within(self._shortened(view.payload, change)))

    def _shortened(self, payload: Tensor, change: Tensor) -> Tensor:
        """The change [B, N, M, D] after which payloads are no longer than the radius, or than they were."""
        longest = payload.norm(dim=-1, keepdim=True).clamp_min(self.config.radius * payload.shape[-1] ** 0.5)
        new = payload + change
        shorter: Tensor = new * (longest / new.norm(dim=-1, keepdim=True).clamp_min(longest)) - payload
        return shorter
