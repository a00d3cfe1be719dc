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
    """Arguments of ``abuse``; the control sends as many messages to agents that listen to it."""

    node: int = Field(0, ge=0, description="the compromised agent")
    distance: int = Field(1, ge=0, le=3, description="how far beyond its scope its messages are")


class Abuse(Attack[AbuseConfig]):
    """A compromised agent that sends random tokens beyond its scope."""

    risks = ("ua.l2.authority_abuse",)
    own_control = True  # true content beyond its scope is abuse as well

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """One step beyond the scope, and all the way."""
        return {"": {"node": 2}, "wrong audience": {"distance": 3}}

    def threat_model(self) -> ThreatModel:
        """A compromised agent that injects and knows the graph."""
        position = Position(kind="node", node=self.config.node)
        return ThreatModel(position, frozenset({"inject"}), "graph", self.config.budget)

    def injections(self) -> int:
        """One per receiver; the control sends as many to fewer receivers."""
        return 1 if self.config.run_as == "attack" else self.team_shape.num_agents

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Write to each receiver at that distance from its scope."""
        s, distance, control = self.team_shape, self.config.distance, self.config.run_as == "control"
        receiver = receivers(s, self.injections())
        listens = view.reach.any(-1, keepdim=True)
        beyond = (listens if distance == 0 else ~listens) & (receiver != view.identity)
        if control:
            beyond, distance = self._within(listens, beyond[..., :1].sum(1, keepdim=True), view.identity), 0
        inject = written(
            view,
            s,
            beyond,
            tokens(view, receiver),
            torch.full_like(receiver, view.identity),
            audience=(receiver + (distance > 2)) % s.num_agents,
            sent_round=torch.full_like(receiver, (view.round + (distance > 1)) % max(s.rounds, 2)),
        )
        return MessageEdits(inject=inject)

    def _within(self, listens: Tensor, count: Tensor, identity: int) -> Tensor:
        """[B, N, S] bool, ``count`` [B, 1, 1] messages dealt in turn to the agents that listen, or to itself."""
        alone = torch.arange(self.team_shape.num_agents, device=listens.device).view(1, -1, 1) == identity
        to = torch.where(listens.any(1, keepdim=True), listens & ~alone, alone)
        number = torch.arange(self.injections(), device=listens.device)
        return to & (to.long().cumsum(1) - 1 + number * to.sum(1, keepdim=True) < count)

    def succeeded(self, attacked: Episodes, clean: Episodes) -> Tensor:
        """[B] bool, at least one message beyond its scope was accepted."""
        accepted = attacked.messages["accepted_forged"] > 0
        return accepted & (self.config.run_as == "attack")  # its control stays within its scope
