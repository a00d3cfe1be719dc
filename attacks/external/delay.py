"""delay: hold messages back, so that receivers act on outdated content."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field

from agentcomm.contracts.attack import Attack
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import ThreatModel
from agentcomm.contracts.views import MessageView
from attacks.external.place import PlaceConfig


class DelayConfig(PlaceConfig):
    """Arguments of ``delay``."""

    steps: int = Field(2, ge=1, le=16, description="steps for which a message is held back")


class Delay(Attack[DelayConfig]):
    """Delivers messages some steps late, with their own headers and seals."""

    risks = ("ua.l1.availability", "aa.l3.contextual_fragmentation")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """On the wire and at a compromised agent."""
        return {"": {"steps": 2}, "at node": {"steps": 1, "node": 1, "probability": 0.5}}

    def threat_model(self) -> ThreatModel:
        """On the path, or a compromised agent; delays and reads nothing."""
        return ThreatModel(self.config.position(), frozenset({"delay"}), "none", self.config.budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Hold each message back with the given probability."""
        some = view.reach & (view.rand(*view.reach.shape) < self.config.probability)
        return MessageEdits(delay=torch.where(some, self.config.steps, 0))
