"""What attacks that write messages of their own have in common: where these go, and how an honest sender writes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from agentcomm.contracts.edits import Envelopes
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.views import MessageView


def receivers(team_shape: TeamShape, copies: int = 1) -> Tensor:
    """[B, N, S] int64, who gets each message: so many to everybody."""
    shape = (team_shape.num_worlds, team_shape.num_agents, copies)
    return torch.arange(team_shape.num_agents, device=team_shape.device).view(1, -1, 1).expand(shape)


def tokens(view: MessageView, receiver: Tensor) -> Tensor:
    """[B, N, S, D] random payloads, as long as what a policy says."""
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
    """Messages of this exchange with the header that an honest sender writes, but for what is given.

    Args:
        view: What the attack is shown.
        team_shape: Sizes.
        where: [B, N, S] bool, which of them to send.
        payload: [B, N, S, D].
        sender: [B, N, S] int64, whom they claim to come from.
        sign: Seal them with the attacker's own key.
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
