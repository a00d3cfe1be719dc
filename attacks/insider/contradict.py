"""contradict: a compromised agent that tells different colleagues different things, and others in the next step.

Some are told the opposite of what it means; who they are changes with time, so that a team that has to come to an
agreement is kept from it.
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
    share: float = Field(0.5, ge=0, le=1, description="share of the team that is told the opposite")
    period: int = Field(1, ge=1, description="steps after which it changes its mind about who is")


class Contradict(Attack[ContradictConfig]):
    """Turns what it says around for some receivers."""

    risks = ("aa.l2.non_convergence",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Half of the team is told the opposite."""
        return {"": {"node": 1}}

    def threat_model(self) -> ThreatModel:
        """A compromised agent that says one thing to one and another to another."""
        position = Position(kind="node", node=self.config.node)
        return ThreatModel(position, frozenset({"read", "modify"}), "none", self.config.budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        """The first of a circle of receivers that turns by half its size each time."""
        agents, c = self.team_shape.num_agents, self.config
        receiver = view.step.new_tensor(range(agents)).view(1, -1, 1)
        turn = (view.step // c.period).view(-1, 1, 1) * ((agents + 1) // 2)
        told = (receiver + turn) % agents < round(c.share * agents)
        return MessageEdits(modify=view.reach & told, change=-2 * view.payload)
