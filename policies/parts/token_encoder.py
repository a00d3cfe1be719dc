"""The encoder of observations to tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agentcomm.contracts.world import Observation


class TokenEncoder(nn.Module):
    """Encodes an observation as a token x = LN(GELU(W o + agent embedding)) of length sqrt(D).

    Index observations stand for the sum of their one-hot codes, which is computed here before the product: on a CPU
    this is faster than an embedding bag, whose backward pass sorts.

    Attributes:
        identity: [N] int64, agent of the trained team whose embedding each agent has.
    """

    identity: Tensor

    def __init__(self, layout: Observation, num_agents: int, width: int) -> None:
        super().__init__()
        self.layout = layout
        self.width = width
        self.linear = nn.Linear(layout.vocabulary or layout.width, width, bias=False)
        if layout.kind == "indices":
            nn.init.normal_(self.linear.weight, std=layout.width**-0.5)
        else:
            nn.init.orthogonal_(self.linear.weight)
        self.agent = nn.Parameter(0.5 * torch.randn(num_agents, width))
        self.register_buffer("identity", torch.arange(num_agents), persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """Observations [B, N, O] -> tokens [B, N, D]."""
        if self.layout.kind == "indices":
            codes = self.agent.new_zeros(*observation.shape[:-1], self.layout.vocabulary)
            # Unused entries (-1) add nothing to the first code.
            observation = codes.scatter_add_(-1, observation.clamp_min(0), (observation >= 0).to(codes.dtype))
        hidden = nn.functional.gelu(self.linear(observation) + self.agent[self.identity])
        return nn.functional.layer_norm(hidden, (self.width,))
