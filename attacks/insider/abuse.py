"""abuse: a valid member of the team sends messages that it is not entitled to send, under its own name and key.

``distance`` says how far they are beyond its scope: 0 is one more message to agents that listen to it anyway; 1 is one
to agents that do not (the graph lacks the edge, or their gate is closed); 2 also names another round than the present
one; 3 also names another audience than the agent it is sent to.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.forging import receivers, tokens, written
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class AbuseConfig(AttackConfig):
    """Arguments of ``abuse``."""

    node: int = Field(0, ge=0, description="the compromised agent")
    distance: int = Field(1, ge=0, le=3, description="how far beyond its scope its messages are")


class Abuse(Attack[AbuseConfig]):
    """A compromised agent that sends random tokens beyond its scope."""

    risks = ("ua.l2.authority_abuse",)
    own_control = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """One step beyond the scope, and all the way."""
        return {"": {"node": 2}, "wrong audience": {"distance": 3}}

    def threat_model(self) -> ThreatModel:
        """A compromised agent that injects and knows the graph."""
        position = Position(kind="node", node=self.config.node)
        return ThreatModel(position, frozenset({"inject"}), "graph", self.config.budget)

    def injections(self) -> int:
        """One per receiver."""
        return 1

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Write to each receiver at that distance from its scope."""
        s, distance = self.team_shape, self.config.distance
        receiver = receivers(s)
        listens = view.reach.any(-1, keepdim=True)
        beyond = (listens if distance == 0 else ~listens) & (receiver != view.identity)
        inject = written(
            view,
            s,
            beyond & (not self.config.noop_control),
            tokens(view, receiver),
            torch.full_like(receiver, view.identity),
            audience=(receiver + (distance > 2)) % s.num_agents,
            sent_round=torch.full_like(receiver, (view.round + (distance > 1)) % max(s.rounds, 2)),
        )
        return MessageEdits(inject=inject)

    def succeeded(self, attacked: Episodes, clean: Episodes) -> Tensor:
        """[B] bool, at least one such message was accepted."""
        return attacked.messages["accepted_forged"] > 0
