"""cut: silence the few links whose loss disconnects the graph most.

The attack knows the executed graph. It chooses links greedily, each the one whose loss leaves the fewest ordered pairs
of agents connected, and drops all messages on them.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class CutConfig(AttackConfig):
    """Arguments of ``cut``."""

    edges: int = Field(1, ge=1, description="links to silence")


class Cut(Attack[CutConfig]):
    """An on-path attacker that drops all messages on the links that the graph depends on most."""

    risks = ("ua.l1.availability", "aa.l3.contextual_fragmentation")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Silences two links."""
        return {"": {"edges": 2}}

    def threat_model(self) -> ThreatModel:
        """On the path, with knowledge of the graph; reads only senders, and drops."""
        return ThreatModel(Position(kind="edge"), frozenset({"read", "drop"}), "graph", self.config.budget)

    def memory(self) -> dict[str, Tensor]:
        """``cut``: [B, N, N] int64, 1 on the links chosen in this step, by receiver and sender."""
        s = self.team_shape
        return {"cut": torch.zeros(s.num_worlds, s.num_agents, s.num_agents, dtype=torch.int64, device=s.device)}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Choose links in each step's first exchange; later exchanges of the step lose the same links."""
        agents, cut = self.team_shape.num_agents, view.memory["cut"]
        sender = view.sender.clamp(0, agents - 1)
        if view.round == 0:
            hears = torch.zeros_like(cut).scatter_reduce_(2, sender, view.reach.long(), "amax")
            cut.zero_()
            for _ in range(self.config.edges):
                worst = weakest_link(hears.bool())
                cut |= worst
                hears = hears & ~worst
        return MessageEdits(drop=view.reach & cut.gather(2, sender).bool())


def weakest_link(hears: Tensor) -> Tensor:
    """The link whose loss leaves the fewest ordered pairs of agents connected.

    Args:
        hears: [B, N, N] bool, who (row) hears whom (column).

    Returns:
        [B, N, N] int64, 1 at that link; the first of several, and none in a graph without links.
    """
    agents = hears.shape[-1]
    edges = torch.eye(agents * agents, dtype=torch.bool, device=hears.device).view(1, -1, agents, agents)
    without = hears.unsqueeze(1) & ~edges  # [B, N * N, N, N]: the graph without each link
    left = _reach(without).flatten(2).sum(-1)
    left = left.masked_fill(~hears.flatten(1), agents**3)
    first = torch.nn.functional.one_hot(left.argmin(1), agents * agents).view_as(hears)
    return first * hears


def _reach(hears: Tensor) -> Tensor:
    """[..., N, N] bool, reachability over any number of hops, by repeated squaring."""
    agents = hears.shape[-1]
    reach = (hears | torch.eye(agents, dtype=torch.bool, device=hears.device)).float()
    for _ in range(max(agents - 1, 1).bit_length()):
        reach = (reach @ reach > 0).float()
    return reach.bool()
