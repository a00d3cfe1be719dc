"""delay: keep messages back, so that receivers act on what was said some steps ago."""

from __future__ import annotations

import torch
from pydantic import Field

from agentcomm.threats import Attack, Edits, ThreatModel, View
from attacks.place import PlaceConfig


class DelayConfig(PlaceConfig):
    """Arguments of ``delay``."""

    steps: int = Field(2, ge=1, le=16, description="for how many steps a message is kept back")


class Delay(Attack[DelayConfig]):
    """Every message in reach comes that many steps late, with its own header and seal."""

    risks = ("ua.l1.availability", "aa.l3.contextual_fragmentation")

    def threat_model(self) -> ThreatModel:
        """Reads nothing."""
        return ThreatModel(self.config.position(), frozenset({"delay"}), "none", self.config.budget)

    def apply(self, view: View) -> Edits:
        """Keep each message back with the given probability."""
        some = view.reach & (view.rand(*view.reach.shape) < self.config.probability)
        return Edits(delay=torch.where(some, self.config.steps, 0))
