"""MAGIC (Niu, Paleja and Gombolay, AAMAS 2021): a new graph in every step, and graph attention on it.

The scheduler that computes the graph is :mod:`policies.graphs.dynamic`. A round of messages is a graph attention layer
(Velickovic et al., ICLR 2018, eq. 1 to 5) over the agent itself and the accepted messages:
``a_ij = softmax_j(LeakyReLU(a_r . W h_i + a_s . W h_j))`` and ``h_i' = LN(h_i + ELU(sum_j a_ij W h_j))``.
An agent sends h_i, the output of a layer normalization without gain: honest payloads have length sqrt(D).

Deviations: feed-forward, where the paper has an LSTM; received messages are added to the agent's state in every round,
where the paper concatenates both before the action head; all rounds of a step use the same graph, and all of them
concatenate their heads.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import PolicyConfig
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.contracts.world import Observation
from policies.graphs.topology import DYNAMIC, NO_LINKS
from policies.parts.mixing import softmax_mix
from policies.parts.token_policy import HeadsConfig, TokenPolicy


class MAGICConfig(HeadsConfig):
    """Arguments of MAGIC."""

    rounds: int = Field(2, ge=1, le=8, description="rounds of messages per step")
    topology: TopologyChoice = Field(DYNAMIC, description="the communication graph")


class GraphAttention(nn.Module):
    """One graph attention layer over the agent itself and the accepted messages."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = (heads, width // heads)
        self.project = nn.Linear(width, width, bias=False)
        self.toward_receiver = nn.Parameter(torch.randn(self.heads) * self.heads[1] ** -0.5)
        self.toward_sender = nn.Parameter(torch.randn(self.heads) * self.heads[1] ** -0.5)

    def forward(self, hidden: Tensor, inbox: Inbox) -> Tensor:
        """Hidden vectors [B, N, D] and inboxes -> hidden vectors [B, N, D]."""
        own = self.project(hidden)
        heard = inbox.project(self.project.weight, own if inbox.spoken is hidden else None)
        images = torch.cat([own.unsqueeze(2), heard], 2).unflatten(-1, self.heads)
        receiver = (images[:, :, :1] * self.toward_receiver).sum(-1)
        scores = nn.functional.leaky_relu(receiver + (images * self.toward_sender).sum(-1), 0.2)
        mixed = softmax_mix(scores, images, inbox).flatten(-2)
        return nn.functional.layer_norm(hidden + nn.functional.elu(mixed), hidden.shape[-1:])


class MAGIC(TokenPolicy[MAGICConfig]):
    """MAGIC on its scheduler's graph, or on any other topology."""

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """One head, and several."""
        return {"": {}, "heads": {"width": 8, "heads": 2}}

    def __init__(self, config: MAGICConfig, layout: Observation, num_agents: int, num_actions: int) -> None:
        super().__init__(config, layout, num_agents, num_actions, config.topology)
        self.rounds = config.rounds
        self.layers = nn.ModuleList(GraphAttention(config.width, config.heads) for _ in range(self.rounds))

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """No links."""
        return config.model_copy(update={"topology": NO_LINKS})

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """One layer of graph attention."""
        state: Tensor = self.layers[round_](hidden, inbox)
        return state
