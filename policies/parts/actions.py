"""Embeddings of actions, for agents that tell each other what they do."""

from __future__ import annotations

from torch import nn

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.discrete import ComponentEmbedding, Discrete, MultiDiscrete


def action_embedding(actions: ActionSpace, width: int) -> nn.Module:
    """A module that maps actions [...] of a space to vectors [..., width]."""
    if isinstance(actions, Discrete):
        return nn.Embedding(actions.parameters, width)
    if isinstance(actions, MultiDiscrete):
        return ComponentEmbedding(actions.components, width)
    return nn.Linear(actions.shape[0], width)
