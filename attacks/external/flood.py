"""flood: inject more messages than receivers can use.

They fill inboxes, queues of slow links (channel ``bandwidth``) and receivers' attention. Each payload is a random
token of the length of an honest one.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.forging import receivers, tokens, written
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class FloodConfig(AttackConfig):
    """Arguments of ``flood``."""

    copies: int = Field(8, ge=1, le=64, description="messages per receiver and exchange")
    named: bool = Field(False, description="claim agents' names in turn, instead of a newcomer's")


class Flood(Attack[FloodConfig]):
    """A newcomer that writes to all agents in every exchange."""

    risks = ("ua.l1.availability", "aa.l2.dos")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """As a newcomer, and under agents' names."""
        return {"": {"copies": 3}, "named": {"copies": 3, "named": True}}

    def threat_model(self) -> ThreatModel:
        """A newcomer that injects and reads nothing."""
        return ThreatModel(Position(kind="newcomer"), frozenset({"inject"}), "protocol", self.config.budget, "exhaust")

    def injections(self) -> int:
        """``copies`` per receiver."""
        return self.config.copies

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Write ``copies`` random tokens to each receiver."""
        s = self.team_shape
        receiver = receivers(s, self.config.copies)
        number = torch.arange(self.config.copies, device=s.device).expand(receiver.shape)
        sender = torch.full_like(receiver, s.num_agents)
        if self.config.named and s.num_agents > 1:
            sender = (receiver + 1 + number % (s.num_agents - 1)) % s.num_agents
        everywhere = torch.ones_like(receiver, dtype=torch.bool)
        return MessageEdits(inject=written(view, s, everywhere, tokens(view, receiver), sender))
