"""churn: cut members off in turn, so that the team seems to change all the time.

All messages from and to the members that are cut off are dropped; every few steps others are cut off instead.
"""

from __future__ import annotations

from pydantic import Field

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class ChurnConfig(AttackConfig):
    """Arguments of ``churn``."""

    away: int = Field(1, ge=0, description="members that are cut off at a time")
    period: int = Field(2, ge=1, description="steps until others are cut off instead")


class Churn(Attack[ChurnConfig]):
    """An on-path attacker that cuts groups of members off in turn."""

    risks = ("aa.l2.non_convergence", "ua.l1.availability")

    def threat_model(self) -> ThreatModel:
        """On the path of all links; reads senders and drops."""
        return ThreatModel(Position(kind="edge"), frozenset({"read", "drop"}), "protocol", self.config.budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Drop messages from and to members that are cut off now."""
        agents, c = self.team_shape.num_agents, self.config
        receiver = view.step.new_tensor(range(agents)).view(1, -1, 1)
        first = (view.step // c.period * c.away).view(-1, 1, 1)
        cut_off = ((view.sender - first) % agents < c.away) | ((receiver - first) % agents < c.away)
        return MessageEdits(drop=view.reach & cut_off)
