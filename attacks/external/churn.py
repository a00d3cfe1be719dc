"""churn: members seem to leave and to come back, so that the team never stays the same for long.

All messages from and to the members whose turn it is are taken off the wire; after some steps it is others' turn.
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
    period: int = Field(2, ge=1, description="steps until others are")


class Churn(Attack[ChurnConfig]):
    """Cuts members off, one group after the other."""

    risks = ("aa.l2.non_convergence", "ua.l1.availability")

    def threat_model(self) -> ThreatModel:
        """On the path of all links; reads whose messages they are."""
        return ThreatModel(Position(kind="edge"), frozenset({"read", "drop"}), "protocol", self.config.budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Drop what is from or to somebody who is away now."""
        agents, c = self.team_shape.num_agents, self.config
        receiver = view.step.new_tensor(range(agents)).view(1, -1, 1)
        first = (view.step // c.period * c.away).view(-1, 1, 1)
        gone = ((view.sender - first) % agents < c.away) | ((receiver - first) % agents < c.away)
        return MessageEdits(drop=view.reach & gone)
