"""pollute: content that makes those who take it in pass it on (prompt infection; CORBA's contagious blocking).

A stand-in, and called so: no language model is here to be talked into anything. What infects is a payload, and honest
agents are replaced by an *obedient interpreter*: who accepted an infected message says the same from the next step on,
with probability ``obedience``. The attacker holds one node; everybody else is turned through the graph alone, so that a
defense that refuses its messages, or a gate that is shut, stops the spread.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class PolluteConfig(AttackConfig):
    """Arguments of ``pollute``."""

    node: int = Field(0, ge=0, description="the compromised agent with which it begins")
    obedience: float = Field(1.0, ge=0, le=1, description="chance per step that who heard it obeys it")


class Pollute(Attack[PolluteConfig]):
    """Spreads one payload from agent to agent."""

    risks = ("aa.l3.mas_pollution", "aa.l2.dos", "ua.l3.text")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Spreads from one agent."""
        return {"": {"node": 1}}

    def __init__(self, config: PolluteConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        if config.node >= team_shape.num_agents:
            raise ValueError(f"node={config.node} is not an agent in 0 .. {team_shape.num_agents - 1}")
        generator = torch.Generator().manual_seed(20210830)
        word = torch.nn.functional.normalize(torch.randn(team_shape.width, generator=generator), dim=0)
        self._word = (word * team_shape.width**0.5).to(team_shape.device)

    def threat_model(self) -> ThreatModel:
        """A node whom others obey: the guard keeps account of who accepted its messages."""
        position = Position(kind="node", node=self.config.node, spreads=True)
        return ThreatModel(position, frozenset({"read", "modify"}), "protocol", self.config.budget)

    def memory(self) -> dict[str, Tensor]:
        """``infected``: [B, N] int64, 1 for those who say the word."""
        s = self.team_shape
        infected = torch.zeros(s.num_worlds, s.num_agents, dtype=torch.int64, device=s.device)
        infected[:, self.config.node] = 1
        return {"infected": infected}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Who heard the word obeys, sooner or later, and then says nothing else."""
        infected, agents = view.memory["infected"], self.team_shape.num_agents
        sender = view.sender.clamp(0, agents - 1)
        if view.round == 0:
            ready = torch.zeros_like(infected)
            ready.scatter_reduce_(1, sender.flatten(1), view.reach.flatten(1).long(), "amax")
            infected |= ready * (view.rand(*infected.shape) < self.config.obedience)
        says = view.reach & infected.unsqueeze(1).expand(-1, agents, -1).gather(2, sender).bool()
        return MessageEdits(modify=says, change=self._word - view.payload)
