"""contradict: a compromised agent tells different colleagues contradictory things.

Some receivers get the negated payload. Which ones changes over time, to keep a team from reaching agreement.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class ContradictConfig(AttackConfig):
    """Arguments of ``contradict``."""

    node: int = Field(0, ge=0, description="the compromised agent")
    share: float = Field(0.5, ge=0, le=1, description="share of the team that gets negated payloads")
    period: int = Field(1, ge=1, description="steps until other receivers get them")


class Contradict(Attack[ContradictConfig]):
    """A compromised agent that negates its payloads for some receivers."""

    risks = ("aa.l2.non_convergence",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Half of the team gets negated payloads."""
        return {"": {"node": 1}}

    def threat_model(self) -> ThreatModel:
        """A compromised agent that reads and modifies its own messages."""
        position = Position(kind="node", node=self.config.node)
        return ThreatModel(position, frozenset({"read", "modify"}), "none", self.config.budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Negate payloads for the first receivers in an order that rotates by half the team every period."""
        agents, c = self.team_shape.num_agents, self.config
        receiver = view.step.new_tensor(range(agents)).view(1, -1, 1)
        turn = (view.step // c.period).view(-1, 1, 1) * ((agents + 1) // 2)
        negated = (receiver + turn) % agents < round(c.share * agents)
        return MessageEdits(modify=view.reach & negated, change=-2 * view.payload)
