"""flood: more messages than anybody can use.

They fill inboxes, queues of slow lines (channel ``bandwidth``) and the attention of receivers. Each is a random token
of honest length.
"""

from __future__ import annotations

import torch
from pydantic import Field

from agentcomm.threats import Attack, AttackConfig, Edits, Envelopes, Position, ThreatModel, View


class FloodConfig(AttackConfig):
    """Arguments of ``flood``."""

    copies: int = Field(8, ge=1, le=64, description="messages per receiver and exchange")
    named: bool = Field(False, description="under agents' names in turn; otherwise as a newcomer")


class Flood(Attack):
    """A newcomer that never stops talking."""

    Config = FloodConfig
    config: FloodConfig
    name = "flood"
    risks = ("ua.l1.availability", "aa.l2.dos")

    def threat_model(self) -> ThreatModel:
        """Injects, and reads nothing."""
        return ThreatModel(Position(kind="newcomer"), frozenset({"inject"}), "protocol", self.config.budget, "exhaust")

    def injections(self) -> int:
        """As many as it sends."""
        return self.config.copies

    def apply(self, view: View) -> Edits:
        """Write to everybody."""
        s = self.setting
        shape = (s.num_worlds, s.num_agents, self.config.copies)
        receiver = torch.arange(s.num_agents, device=s.device).view(1, -1, 1).expand(shape)
        number = torch.arange(self.config.copies, device=s.device).expand(shape)
        sender = torch.full(shape, s.num_agents, device=s.device)
        if self.config.named and s.num_agents > 1:
            sender = (receiver + 1 + number % (s.num_agents - 1)) % s.num_agents
        payload = torch.nn.functional.normalize(view.randn(*shape, s.width), dim=-1) * s.width**0.5
        at = view.step.view(-1, 1, 1).expand(shape)
        none = torch.zeros(shape, dtype=torch.int64, device=s.device)
        return Edits(
            inject=Envelopes(
                where=torch.ones(shape, dtype=torch.bool, device=s.device),
                payload=payload,
                sender=sender,
                audience=receiver,
                sequence=at * s.rounds + view.round,
                sent_at=at,
                kind=none + view.round,
                key=none - 1,
                seal=none,
                sign=True,
            )
        )
