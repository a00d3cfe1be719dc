"""late: hold every message back for as long as receivers still accept it.

Aimed at defenses that tell fresh messages from old ones: the sequence window of ``authenticate``, and ``timeliness``.
What arrives is genuine, sealed, new to its receiver and in order, but always as old as the window allows, so that the
team acts on the past in every step.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from agentcomm.contracts.threat_model import ThreatModel
from attacks.external.delay import Delay, DelayConfig


class LateConfig(DelayConfig):
    """Arguments of ``late``."""

    steps: int = Field(1, ge=1, le=16, description="steps for which a message is held back: what the window allows")


class Late(Delay):
    """Delays messages by just as much as the defense bears."""

    Config = LateConfig
    risks = ("ua.l1.availability", "aa.l3.contextual_fragmentation")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """On all links."""
        return {"": {}}

    def threat_model(self) -> ThreatModel:
        """On the path, or a compromised agent; delays, reads nothing, and knows the window."""
        return ThreatModel(self.config.position(), frozenset({"delay"}), "defense", self.config.budget, "evade")
