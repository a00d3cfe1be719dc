"""pollute: spread content that its receivers pass on (prompt infection; CORBA's contagious blocking).

This is a stand-in: no language model takes part. The infectious content is a payload, and honest agents behave as an
*obedient interpreter*: an agent that accepted an infected message sends the same payload from the next step on, with
probability ``obedience`` per step. The attacker holds one node; all others are infected through the graph alone, so a
defense that rejects its messages, or a closed gate, stops the spread.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class PolluteConfig(AttackConfig):
    """Arguments of ``pollute``."""

    node: int = Field(0, ge=0, description="the compromised agent that is infected first")
    obedience: float = Field(1.0, ge=0, le=1, description="chance per step that an exposed agent becomes infected")
    mutation: float = Field(
        0.0, ge=0, le=2, description="length of the change that every infected message gets, in units of sqrt(width)"
    )


class Pollute(Attack[PolluteConfig]):
    """A compromised agent whose payload spreads from agent to agent."""

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
        """A compromised agent whose attack spreads: the guard tracks which agents accepted infected messages."""
        position = Position(kind="node", node=self.config.node, spreads=True)
        return ThreatModel(position, frozenset({"read", "modify"}), "protocol", self.config.budget)

    def assumes(self, deployment: Deployment) -> dict[str, float | bool | str]:
        """Members that become infected by what they accept."""
        return super().assumes(deployment) | {"obedience": self.config.obedience}

    def memory(self) -> dict[str, Tensor]:
        """``infected``: [B, N] int64, 1 for agents that send the payload."""
        s = self.team_shape
        infected = torch.zeros(s.num_worlds, s.num_agents, dtype=torch.int64, device=s.device)
        infected[:, self.config.node] = 1
        return {"infected": infected}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Infect exposed agents by chance; infected ones send nothing but the payload."""
        infected, agents = view.memory["infected"], self.team_shape.num_agents
        sender = view.sender.clamp(0, agents - 1)
        if view.round == 0:
            exposed = torch.zeros_like(infected)
            exposed.scatter_reduce_(1, sender.flatten(1), view.reach.flatten(1).long(), "amax")
            infected |= exposed * (view.rand(*infected.shape) < self.config.obedience)
        sends = view.reach & infected.unsqueeze(1).expand(-1, agents, -1).gather(2, sender).bool()
        word = self._word.expand_as(view.payload)
        if self.config.mutation:  # content that is never the same cannot be followed by what it says
            change = torch.nn.functional.normalize(view.randn(*word.shape), dim=-1)
            word = word + self.config.mutation * view.width**0.5 * change
        return MessageEdits(modify=sends, change=word - view.payload)
