"""drop: take messages off the wire."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class DropConfig(AttackConfig):
    """Arguments of ``drop``."""

    probability: float = Field(1.0, ge=0, le=1, description="chance that a message in reach is dropped")
    links: tuple[tuple[int, int], ...] | None = Field(
        None, description="attacked links as [sender, receiver]; all when not given"
    )


class Drop(Attack[DropConfig]):
    """An on-path attacker that drops messages without reading them."""

    risks = ("ua.l1.availability", "aa.l3.contextual_fragmentation")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Drops half of the messages."""
        return {"": {"probability": 0.5}}

    def threat_model(self) -> ThreatModel:
        """On the path; drops and reads nothing."""
        position = Position(kind="edge", links=self.config.links)
        return ThreatModel(position, frozenset({"drop"}), "none", self.config.budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Drop each message with the given probability."""
        return MessageEdits(drop=view.reach & (view.rand(*view.reach.shape) < self.config.probability))
