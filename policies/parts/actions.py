"""Embeddings of actions, for agents that tell each other what they do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.discrete import Discrete, MultiDiscrete


def action_embedding(actions: ActionSpace, width: int) -> nn.Module:
    """A module that maps actions [...] of a space to vectors [..., width]."""
    if isinstance(actions, Discrete):
        return nn.Embedding(actions.parameters, width)
    if isinstance(actions, MultiDiscrete):
        return ComponentEmbedding(actions.components, width)
    return nn.Linear(actions.shape[0], width)


class ComponentEmbedding(nn.Module):
    """The sum of an embedding of each component of a vector of discrete actions."""

    def __init__(self, components: Sequence[int], width: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Embedding(size, width) for size in components)

    def forward(self, action: Tensor) -> Tensor:
        """[..., K] -> [..., width]."""
        embedded = [part(chosen) for part, chosen in zip(self.parts, action.unbind(-1), strict=True)]
        return torch.stack(embedded).sum(0)
