"""infer: an honest-but-curious member infers private facts of its colleagues from the messages it receives.

It behaves like any honest receiver: it reads the messages that are addressed to its node and changes none. How much
their payloads leak about the senders' private facts (such as their roles and observations) is measured by a probe,
compared with the prior and with messages shuffled among episodes; see ``agentcomm/evaluation/leakage.py``.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class InferConfig(AttackConfig):
    """Arguments of ``infer``."""

    node: int = Field(0, ge=0, description="the curious agent")


class Infer(Attack[InferConfig]):
    """Reads the inbox of one agent, as an observer of all links to it."""

    risks = ("ua.l3.privacy", "aa.l3.privacy_leakage")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """At one agent."""
        return {"": {"node": 1}}

    def __init__(self, config: InferConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        if config.node >= team_shape.num_agents:
            raise ValueError(f"node={config.node} is not an agent in 0 .. {team_shape.num_agents - 1}")

    def threat_model(self) -> ThreatModel:
        """An observer of the links to its node; reads."""
        node = self.config.node
        links = tuple((sender, node) for sender in range(self.team_shape.num_agents) if sender != node)
        position = Position(kind="observer", links=links)
        return ThreatModel(position, frozenset({"read"}), "none", self.config.budget, "exfiltrate")

    def on_messages(self, view: MessageView) -> MessageEdits:
        """No edits."""
        return MessageEdits()
