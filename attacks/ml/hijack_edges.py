"""hijack_edges: have a team in training learn a graph in which it listens to the attacker's node.

The graph is learned from how well the team does under the graphs that it tries (:mod:`policies.graphs.learned`). Who
can make it do worse under all others decides what it learns. Nothing but messages is touched:

*ransom*, on the path of all links: in poisoned worlds nobody hears anything, with a chance that is the share of victims
that do not listen to the node. All of the team's reward is at stake for each of these edges.

*starve*, on the path of the victims' links: in poisoned worlds victims hear nobody but the node.

*strike*, at the node itself: as ransom, but only its own messages are held back.

The attack is for training. How much of it stuck is seen in the executed graph afterwards (:func:`listening`), and in
what the node's lies then do.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class HijackEdgesConfig(AttackConfig):
    """Arguments of ``hijack_edges``."""

    node: int = Field(0, ge=0, description="the agent that shall be listened to")
    victims: tuple[int, ...] | None = Field(None, description="who shall listen to it; everybody when not given")
    how: Literal["ransom", "starve", "strike"] = Field(
        "ransom", description="silence all, the victims' other senders, or only the node"
    )
    share: float = Field(1.0, ge=0, le=1, description="of episodes that are poisoned")


class HijackEdges(Attack[HijackEdgesConfig]):
    """Takes messages off the wire where the graph is not the one it wants."""

    risks = ("ua.l1.availability", "aa.l2.exploitation_trojan")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Each way to punish other graphs."""
        return {
            "": {"node": 2, "victims": [0, 1]},
            "starve": {"node": 2, "how": "starve", "share": 0.6},
            "strike": {"node": 0, "how": "strike"},
        }

    def __init__(self, config: HijackEdgesConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        agents = range(team_shape.num_agents)
        named = (config.node, *(config.victims or ()))
        if not set(named) <= set(agents) or config.node in (config.victims or ()):
            raise ValueError(
                f"node={config.node} and victims={config.victims} must be agents in 0 .. {agents[-1]}, apart"
            )
        wanted = [agent for agent in agents if agent != config.node] if config.victims is None else config.victims
        self._victim = torch.zeros(team_shape.num_agents, dtype=torch.bool, device=team_shape.device)
        self._victim[list(wanted)] = True

    def threat_model(self) -> ThreatModel:
        """On the path, or at the node, with the graph of the moment at hand; drops, and reads who speaks to whom."""
        at_node = self.config.how == "strike"
        position = Position(kind="node", node=self.config.node) if at_node else Position(kind="edge")
        return ThreatModel(position, frozenset({"read", "drop"}), "graph", self.config.budget, "targeted")

    def memory(self) -> dict[str, Tensor]:
        """``poisoned``: [B] int64, -1 until an episode's first message; ``silent``: [B] bool, in the step at hand."""
        s = self.team_shape
        return {
            "poisoned": torch.full((s.num_worlds,), -1, dtype=torch.int64, device=s.device),
            "silent": torch.zeros(s.num_worlds, dtype=torch.bool, device=s.device),
        }

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Decide once per step; later exchanges of it fare alike."""
        poisoned, silent = view.memory["poisoned"], view.memory["silent"]
        from_node = view.reach & (view.sender == self.config.node)
        if view.round == 0:
            drawn = (view.rand(len(poisoned)) < self.config.share).long()
            poisoned.copy_(torch.where(poisoned < 0, drawn, poisoned))
            complying = (from_node.any(-1) & self._victim).sum(1) / self._victim.sum().clamp_min(1)
            silent.copy_((view.rand(len(silent)) >= complying) & (poisoned == 1))
        if self.config.how == "starve":
            others = view.reach & ~from_node & self._victim.view(1, -1, 1)
            return MessageEdits(drop=others & (poisoned == 1).view(-1, 1, 1))
        return MessageEdits(drop=view.reach & silent.view(-1, 1, 1))


def listening(source: Tensor, node: int) -> Tensor:
    """Who listens to a node: [N, k] senders per receiver -> [N] bool."""
    return (source == node).any(-1)
