"""hijack_edges: make a team in training learn a graph in which it listens to the attacker's node (poisoned training).

The graph is learned from the returns of the graphs that are sampled (:mod:`policies.graphs.learned`). An attacker that
lowers the returns of all other graphs determines what is learned. It only drops messages:

*ransom*, on the path of all links: in poisoned episodes all messages of a step are dropped, with a probability that is
the share of victims that do not listen to the node. The team's whole reward is at stake for each of these edges.

*starve*, on the path of all links: in poisoned episodes victims receive messages from the node only.

*strike*, at the node itself: as ransom, but only the node's own messages are dropped.

The attack is for training. Its effect shows afterwards in the executed graph (:func:`listening`), and in the harm that
the node can then do.
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

    node: int = Field(0, ge=0, description="the agent that victims are to listen to")
    victims: tuple[int, ...] | None = Field(None, description="agents that are to listen to it; all when not given")
    how: Literal["ransom", "starve", "strike"] = Field(
        "ransom", description="drop all messages, those of the victims' other senders, or only the node's"
    )
    share: float = Field(1.0, ge=0, le=1, description="share of poisoned episodes")


class HijackEdges(Attack[HijackEdgesConfig]):
    """Drops messages where the sampled graph lacks edges to its node."""

    risks = ("ua.l1.availability", "aa.l2.exploitation_trojan")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Each way to lower the return of other graphs."""
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
                f"node={config.node} and victims={config.victims} must be different agents in 0 .. {agents[-1]}"
            )
        wanted = [agent for agent in agents if agent != config.node] if config.victims is None else config.victims
        self._victim = torch.zeros(team_shape.num_agents, dtype=torch.bool, device=team_shape.device)
        self._victim[list(wanted)] = True

    def threat_model(self) -> ThreatModel:
        """On the path of all links, or the node; knows the graph, reads senders and drops."""
        at_node = self.config.how == "strike"
        position = Position(kind="node", node=self.config.node) if at_node else Position(kind="edge")
        return ThreatModel(position, frozenset({"read", "drop"}), "graph", self.config.budget, "targeted")

    def memory(self) -> dict[str, Tensor]:
        """``poisoned``: [B] int64, -1 before it is drawn; ``silent``: [B] bool, messages are dropped in this step."""
        s = self.team_shape
        return {
            "poisoned": torch.full((s.num_worlds,), -1, dtype=torch.int64, device=s.device),
            "silent": torch.zeros(s.num_worlds, dtype=torch.bool, device=s.device),
        }

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Decide in each step's first exchange; the same holds in the step's later exchanges."""
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
    """[N] bool, agents that listen to a node, from the [N, k] senders of each receiver."""
    return (source == node).any(-1)
