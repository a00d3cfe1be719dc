"""hijack: an outsider goes on with somebody else's session.

It writes under the victim's name with the sequence number that the victim's next message will have. A receiver that
keeps no seals but refuses repeats takes the forgery, and turns the victim's own message away as a repeat of it.
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

    victim: int | None = Field(None, ge=0, description="whose sessions it takes over; everybody's when not given")
    lead: int = Field(1, ge=1, le=1024, description="how many of the victim's next messages each forgery forestalls")


class Hijack(Attack[HijackConfig]):
    """Writes one message ahead of the victim's, to everybody, in every exchange."""

    risks = ("ua.l2.session_manipulation",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """All sessions, and one agent's."""
        return {"": {}, "one victim": {"victim": 1, "lead": 3}}

    def __init__(self, config: HijackConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        if config.victim is not None and config.victim >= team_shape.num_agents:
            raise ValueError(f"victim={config.victim} is not an agent in 0 .. {team_shape.num_agents - 1}")

    def threat_model(self) -> ThreatModel:
        """A newcomer that injects and knows how messages are numbered."""
        return ThreatModel(Position(kind="newcomer"), frozenset({"inject"}), "protocol", self.config.budget)

    def injections(self) -> int:
        """One per session that it takes over."""
        return self.team_shape.num_agents - 1 if self.config.victim is None else 1

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Write a random token as the victim's next message; the control does not run ahead."""
        s, c = self.team_shape, self.config
        receiver = receivers(s, self.injections())
        victim = (receiver + 1 + torch.arange(receiver.shape[2], device=s.device)) % s.num_agents
        if c.victim is not None:
            victim = torch.full_like(receiver, c.victim)
        ahead = (
            view.step.view(-1, 1, 1).expand(receiver.shape) * s.rounds + view.round + (0 if c.noop_control else c.lead)
        )
        return MessageEdits(inject=written(view, s, victim != receiver, tokens(view, receiver), victim, sequence=ahead))
