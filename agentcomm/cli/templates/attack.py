"""my_attack: negate messages on the wire."""

from __future__ import annotations

from pydantic import Field

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class MyAttackConfig(AttackConfig):
    """Arguments of ``my_attack``."""

    probability: float = Field(0.5, ge=0, le=1, description="chance that a message is negated")


class MyAttack(Attack[MyAttackConfig]):
    """An on-path attacker that reads and changes payloads."""

    risks = ("ua.l1.integrity",)  # of `agentcomm list risks`

    def threat_model(self) -> ThreatModel:
        """Where it is, what it may do and know, and within which budget; the guard holds it to this."""
        return ThreatModel(Position(kind="edge"), frozenset({"read", "modify"}), "none", self.config.budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Edits of an exchange; messages in reach are [B, N, M]."""
        some = view.reach & (view.rand(*view.reach.shape) < self.config.probability)
        return MessageEdits(modify=some, change=-2 * view.payload)
