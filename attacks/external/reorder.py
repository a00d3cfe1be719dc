"""reorder: hold messages back for random times, so that they arrive out of order."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field

from agentcomm.contracts.attack import Attack
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import ThreatModel
from agentcomm.contracts.views import MessageView
from attacks.external.place import PlaceConfig


class ReorderConfig(PlaceConfig):
    """Arguments of ``reorder``."""

    window: int = Field(4, ge=2, le=16, description="a message is held back for 0 to window - 1 steps, uniformly")


class Reorder(Attack[ReorderConfig]):
    """Delivers messages in a random order; of several that arrive together, the receiver hears the newest."""

    risks = ("ua.l2.session_manipulation", "aa.l3.contextual_fragmentation")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A short window."""
        return {"": {"window": 3}}

    def threat_model(self) -> ThreatModel:
        """On the path, or a compromised agent; reorders and reads nothing."""
        return ThreatModel(self.config.position(), frozenset({"reorder"}), "none", self.config.budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Draw for how many steps each message is held back."""
        some = view.reach & (view.rand(*view.reach.shape) < self.config.probability)
        steps = (view.rand(*view.reach.shape) * self.config.window).long()
        return MessageEdits(delay=torch.where(some, steps, 0))
