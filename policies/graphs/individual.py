"""A new graph in every step, in which each receiver chooses its senders by itself.

A receiver decides from its own hidden vector and from who the other is, as in I2C (Ding, Huang and Lu, NeurIPS 2020,
arXiv 2006.06455). The scheduler of :mod:`policies.graphs.dynamic` sees the hidden vectors of all agents, so whom a
receiver hears can tell it what others see; here it tells nothing that the receiver did not know. I2C trains its choices
to predict which messages change a receiver's action; here both estimators of ``dynamic`` can train them.

The logit of an edge is an angle, c cos(q(h_i), k) with a key k for every sender, as in ``embedded``, or for every
distance on a ring. Receivers start with preferences of their own, different ones for what they observe: from equal
preferences for senders they hardly find out how to share them among themselves, as any choice is then as good as
another. Equal preferences for distances share them already: receivers that see alike choose different senders.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from policies.graphs.dynamic import DynamicConfig, DynamicGraph

# Of the first layer of queries. Queries for agents are to differ between receivers, those for distances are not.
GAIN = {"agent": 3.0, "distance": 1.0}


class IndividualConfig(DynamicConfig):
    """Arguments of IndividualGraph."""

    hidden: int = Field(128, ge=1, description="width of the hidden layer of queries")
    embedding: int = Field(64, ge=2, le=1024, description="width of queries and keys")
    sharpness: float = Field(16.0, gt=0, description="largest part of a logit that comes from query and key")
    keys: Literal["agent", "distance"] = Field(
        "agent",
        description="what receivers know senders by: who they are, or how many places before the receiver in the team"
        " (agent 0 follows the last one)",
    )


class IndividualGraph(DynamicGraph[IndividualConfig]):
    """Receivers that choose their senders from what they know themselves, each by a query to the keys of senders."""

    noisy: ClassVar[bool] = False  # receivers differ, and need no noise to choose different senders
    _identity: Tensor

    def _make_scheduler(self, num_agents: int, width: int) -> None:
        c = self.config
        first = nn.Linear(width, c.hidden)
        nn.init.orthogonal_(first.weight, GAIN[c.keys])
        self.query = nn.Sequential(first, nn.ReLU(), nn.Linear(c.hidden, c.rounds * c.embedding))
        self.key = nn.Parameter(torch.randn(num_agents, c.embedding))
        self.bias = nn.Parameter(torch.tensor(c.initial_logit))
        self.register_buffer("_identity", torch.arange(num_agents), persistent=False)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Those of ``dynamic``, with small layers, and keys by distance."""
        forms = super().forms() | {"distance": {"keys": "distance", "degree": 1, "warmup": 0.0}}
        return {name: form | {"hidden": 16, "embedding": 8} for name, form in forms.items()}

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden vectors [B, N, H] -> logits [B, G, N, N] of the edges of each graph (row: receiver)."""
        asked = self.query(hidden).unflatten(-1, (self.config.rounds, -1)).transpose(1, 2)
        key = nn.functional.normalize(self.key[self._identity], dim=-1)
        match: Tensor = self.config.sharpness * nn.functional.normalize(asked, dim=-1) @ key.T
        if self.config.keys == "distance":
            place = torch.arange(len(key), device=key.device)
            match = match.gather(3, ((place.unsqueeze(1) - place) % len(key)).expand_as(match))
        return match + self.bias

    def resize(self, identity: Tensor) -> None:
        """Adapt to another number of agents, which have the keys of those that they stand in for.

        A distance has the key of the agent that is as far from agent 0.
        """
        super().resize(identity)
        self._identity = identity.to(self._identity.device)
