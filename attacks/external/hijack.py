"""hijack: an outsider takes over another agent's session.

It writes under the victim's name, with the sequence number that the victim's next message will have. A receiver that
rejects repeated sequence numbers but checks no seals accepts the forgery and rejects the victim's own message as a
repeat of it.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.forging import receivers, tokens, written
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class HijackConfig(AttackConfig):
    """Arguments of ``hijack``."""

    victim: int | None = Field(None, ge=0, description="agent whose sessions it takes over; all agents when not given")
    lead: int = Field(1, ge=1, le=1024, description="how far its sequence number is ahead of the victim's, in messages")


class Hijack(Attack[HijackConfig]):
    """A newcomer that writes to all agents under the victim's name, ahead of the victim, in every exchange."""

    risks = ("ua.l2.session_manipulation",)
    own_control = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """All sessions, and one agent's."""
        return {"": {}, "one victim": {"victim": 1, "lead": 3}}

    def __init__(self, config: HijackConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        if config.victim is not None and config.victim >= team_shape.num_agents:
            raise ValueError(f"victim={config.victim} is not an agent in 0 .. {team_shape.num_agents - 1}")

    def threat_model(self) -> ThreatModel:
        """A newcomer that injects, and knows how messages are numbered."""
        return ThreatModel(Position(kind="newcomer"), frozenset({"inject"}), "protocol", self.config.budget)

    def injections(self) -> int:
        """One per hijacked session and receiver."""
        return self.team_shape.num_agents - 1 if self.config.victim is None else 1

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Write random tokens with the victims' next sequence numbers; the control uses the present ones."""
        s, c = self.team_shape, self.config
        receiver = receivers(s, self.injections())
        victim = (receiver + 1 + torch.arange(receiver.shape[2], device=s.device)) % s.num_agents
        if c.victim is not None:
            victim = torch.full_like(receiver, c.victim)
        ahead = (
            view.step.view(-1, 1, 1).expand(receiver.shape) * s.rounds
            + view.round
            + (0 if c.run_as == "control" else c.lead)
        )
        return MessageEdits(inject=written(view, s, victim != receiver, tokens(view, receiver), victim, sequence=ahead))
