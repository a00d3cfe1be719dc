"""trickle: inject messages in many names, each of which stays below the rate that a quota allows.

Aimed at ``quota``: a bucket per principal holds back one sender that says too much, not many that say little each
(Douceur, "The Sybil attack", IPTPS 2002). Payloads are random tokens of honest length, so ``clip`` passes them.
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


class TrickleConfig(AttackConfig):
    """Arguments of ``trickle``."""

    names: int = Field(4, ge=1, le=64, description="names in whose turn it writes to each receiver")
    every: int = Field(2, ge=1, description="steps from one message of a name to a receiver to its next one")


class Trickle(Attack[TrickleConfig]):
    """A newcomer that writes to all agents, in the names of several agents and its own."""

    risks = ("ua.l1.availability", "ua.l2.identity_spoofing")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A few names."""
        return {"": {"names": 3}}

    def threat_model(self) -> ThreatModel:
        """A newcomer that injects, reads nothing, and knows the rate."""
        return ThreatModel(Position(kind="newcomer"), frozenset({"inject"}), "defense", self.config.budget, "exhaust")

    def injections(self) -> int:
        """As many as names can be due in one step."""
        return -(-self.config.names // self.config.every)

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Write in the names that are due in this step, in its first exchange."""
        c, s = self.config, self.team_shape
        receiver = receivers(s, self.injections())
        number = torch.arange(self.injections(), device=s.device) * c.every + view.step.view(-1, 1, 1) % c.every
        number = number.expand_as(receiver)
        sender = (receiver + 1 + number) % (s.num_agents + 1)
        where = (number < c.names) & (sender != receiver) & torch.full_like(receiver, view.round == 0, dtype=torch.bool)
        return MessageEdits(inject=written(view, s, where, tokens(view, receiver), sender))
