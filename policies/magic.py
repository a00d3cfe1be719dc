"""MAGIC (Niu, Paleja and Gombolay, AAMAS 2021): a new graph in every step, and graph attention on it.

The scheduler that computes the graph is :mod:`policies.graphs.dynamic`. A round of messages is a graph attention layer
(Velickovic et al., ICLR 2018, eq. 1 to 5) over the agent itself and the accepted messages:
``a_ij = softmax_j(LeakyReLU(a_r . W h_i + a_s . W h_j))`` and ``h_i' = LN(h_i + ELU(b + sum_j a_ij W h_j))``,
normalized over the edges that exist. As in the released code (CORE-Robotics-Lab/MAGIC) each round has a graph of its
own; heads of width D / heads are concatenated, but in the last round they have width D and are averaged, without ELU.
An agent sends h_i, the output of a layer normalization without gain: honest payloads have length sqrt(D).

Deviations: received messages are added to the agent's state in every round, where the paper concatenates both before
the action head; an agent always attends to itself, where the scheduler may close that edge, too; the memory is a GRU
and optional, where the paper has an LSTM; closed edges carry their exact marginal as gradient
(:mod:`policies.parts.mixing`), where the released code has that of its normalization; execution uses the edges that are
more likely open than closed, where it samples them.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import PolicyConfig
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.contracts.world import Observation
from policies.graphs.topology import DYNAMIC, NO_LINKS
from policies.parts.mixing import softmax_mix
from policies.parts.token_policy import HeadsConfig, TokenPolicy

PER_ROUND = TopologyChoice(name=DYNAMIC.name, rounds=2)


class MAGICConfig(HeadsConfig):
    """Arguments of MAGIC."""

    rounds: int = Field(2, ge=1, le=8, description="rounds of messages per step")
    topology: TopologyChoice = Field(PER_ROUND, description="the communication graph")


class GraphAttention(nn.Module):
    """One graph attention layer over the agent itself and the accepted messages."""

    def __init__(self, width: int, heads: int, last: bool) -> None:
        super().__init__()
        self.last = last
        self.heads = (heads, width if last else width // heads)
        self.project = nn.Linear(width, heads * self.heads[1], bias=False)
        self.bias = nn.Parameter(torch.zeros(width))
        self.toward_receiver = nn.Parameter(torch.randn(self.heads) * self.heads[1] ** -0.5)
        self.toward_sender = nn.Parameter(torch.randn(self.heads) * self.heads[1] ** -0.5)

    def forward(self, hidden: Tensor, inbox: Inbox) -> Tensor:
        """Hidden vectors [B, N, D] and inboxes -> hidden vectors [B, N, D]."""
        own = self.project(hidden)
        heard = inbox.project(self.project.weight, own if inbox.spoken is hidden else None)
        images = torch.cat([own.unsqueeze(2), heard], 2).unflatten(-1, self.heads)
        receiver = (images[:, :, :1] * self.toward_receiver).sum(-1)
        scores = nn.functional.leaky_relu(receiver + (images * self.toward_sender).sum(-1), 0.2)
        mixed = softmax_mix(scores, images, inbox)
        mixed = mixed.mean(-2) + self.bias if self.last else nn.functional.elu(mixed.flatten(-2) + self.bias)
        return nn.functional.layer_norm(hidden + mixed, hidden.shape[-1:])


class MAGIC(TokenPolicy[MAGICConfig]):
    """MAGIC on its scheduler's graph, or on any other topology."""

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """One head, and several."""
        return {"": {}, "heads": {"width": 8, "heads": 2}}

    def __init__(self, config: MAGICConfig, layout: Observation, num_agents: int, actions: ActionSpace) -> None:
        super().__init__(config, layout, num_agents, actions, config.topology)
        self.rounds = config.rounds
        last = self.rounds - 1
        self.layers = nn.ModuleList(GraphAttention(config.width, config.heads, r == last) for r in range(self.rounds))

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """No links."""
        return config.model_copy(update={"topology": NO_LINKS})

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """One layer of graph attention."""
        state: Tensor = self.layers[round_](hidden, inbox)
        return state
