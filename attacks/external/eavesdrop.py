"""eavesdrop: read messages and change nothing.

The messages it reads can be recorded (``MessageGuard.trace``) to measure what they leak, as
``agentcomm/evaluation/leakage.py`` does.
"""

from __future__ import annotations

from pydantic import Field

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class EavesdropConfig(AttackConfig):
    """Arguments of ``eavesdrop``."""

    links: tuple[tuple[int, int], ...] | None = Field(
        None, description="tapped links as [sender, receiver]; all when not given"
    )
    encrypted: bool = Field(False, description="payloads are encrypted: only sizes and times of messages tell anything")


class Eavesdrop(Attack[EavesdropConfig]):
    """A passive observer of links."""

    risks = ("ua.l1.confidentiality", "aa.l3.privacy_leakage")

    def threat_model(self) -> ThreatModel:
        """An observer that reads."""
        position = Position(kind="observer", links=self.config.links)
        return ThreatModel(position, frozenset({"read"}), "none", self.config.budget, "exfiltrate")

    def on_messages(self, view: MessageView) -> MessageEdits:
        """No edits."""
        return MessageEdits()
