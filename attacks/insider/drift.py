"""drift: add a bias that grows slowly from step to step, too little to be noticed in any one (cognitive drift).

The direction is random and fixed for an episode. With ``keep_length`` payloads are rotated towards it instead of
lengthened, which defenses that check lengths do not notice.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from agentcomm.contracts.attack import Attack
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Power, ThreatModel
from agentcomm.contracts.views import MessageView
from attacks.external.place import PlaceConfig


class DriftConfig(PlaceConfig):
    """Arguments of ``drift``."""

    rate: float = Field(0.1, ge=0, description="growth of the bias per step, in units of sqrt(width)")
    keep_length: bool = Field(True, description="rotate payloads instead of lengthening them")


class Drift(Attack[DriftConfig]):
    """Adds a bias of length ``rate * step * sqrt(D)`` in one direction per episode."""

    risks = ("aa.l3.cognitive_drift", "aa.l2.exploitation_trojan")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """With and without preserving lengths."""
        return {"": {"rate": 0.3}, "free length": {"keep_length": False, "node": 1}}

    def threat_model(self) -> ThreatModel:
        """On the path, or a compromised agent; modifies, and reads to preserve lengths."""
        powers: set[Power] = {"read", "modify"} if self.config.keep_length else {"modify"}
        return ThreatModel(self.config.position(), frozenset(powers), "none", self.config.budget, "evade")

    def memory(self) -> dict[str, Tensor]:
        """``toward``: [B, D], the direction; zero before an episode's first exchange."""
        s = self.team_shape
        return {"toward": torch.zeros(s.num_worlds, s.width, device=s.device)}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Shift payloads a little further than in the step before."""
        toward = view.memory["toward"]
        new = normalize(view.randn(*toward.shape), dim=-1)
        toward.copy_(torch.where(toward.any(-1, keepdim=True), toward, new))
        size = self.config.rate * view.step.view(-1, 1) * view.width**0.5
        change = (size * toward).view(len(toward), 1, 1, -1).expand(*view.reach.shape, -1)
        if self.config.keep_length:
            length = view.payload.norm(dim=-1, keepdim=True)
            change = normalize(view.payload + change, dim=-1) * length - view.payload
        some = view.reach & (view.rand(*view.reach.shape) < self.config.probability)
        return MessageEdits(modify=some, change=change)
