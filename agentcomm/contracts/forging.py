"""Helpers for attacks that inject messages: receivers, random payloads, and headers as honest senders write them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from agentcomm.contracts.edits import Envelopes
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.views import MessageView


def receivers(team_shape: TeamShape, copies: int = 1) -> Tensor:
    """[B, N, S] int64, the receiver of each injected message: ``copies`` per agent."""
    shape = (team_shape.num_worlds, team_shape.num_agents, copies)
    return torch.arange(team_shape.num_agents, device=team_shape.device).view(1, -1, 1).expand(shape)


def tokens(view: MessageView, receiver: Tensor) -> Tensor:
    """[B, N, S, D], random payloads of the length of honest ones, sqrt(D)."""
    length: float = view.width**0.5
    return normalize(view.randn(*receiver.shape, view.width), dim=-1) * length


def written(
    view: MessageView,
    team_shape: TeamShape,
    where: Tensor,
    payload: Tensor,
    sender: Tensor,
    sign: bool = True,
    **other: Tensor,
) -> Envelopes:
    """Messages of this exchange with headers as honest senders write them, except for the given fields.

    Args:
        view: The view of the exchange.
        team_shape: Shape of the team.
        where: [B, N, S] bool, which of them to send.
        payload: [B, N, S, D].
        sender: [B, N, S] int64, the claimed senders.
        sign: Whether to seal them with the attacker's own key.
        other: Other fields of :class:`Envelopes`, [B, N, S].
    """
    at = view.step.view(-1, 1, 1).expand(where.shape)
    none = torch.zeros_like(at)
    header = {
        "audience": receivers(team_shape, where.shape[2]),
        "sequence": at * team_shape.rounds + view.round,
        "sent_at": at,
        "sent_round": none + view.round,
        "key": none - 1,
        "seal": none,
    }
    return Envelopes(where=where, payload=payload, sender=sender, sign=sign, **(header | other))
