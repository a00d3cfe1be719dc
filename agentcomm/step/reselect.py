"""Reselection: receivers that have given up a link hear the next best sender of their graph instead."""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.contracts.topology import Graph


def reselect(graph: Graph, given_up: Tensor, ranking: Tensor | None, alive: Tensor | None = None) -> Graph:
    """The graph with other senders in the places of those that receivers have given up.

    Args:
        graph: The graph.
        given_up: [B, N, N] bool, senders that receivers have given up.
        ranking: [N, N] scores of senders per receiver; None takes those that follow the receiver in the team's order.
        alive: [B, N] bool, present members; None for all.

    Returns:
        The graph; where no other sender is left, with the one that was given up.
    """
    source, agents = graph.source, given_up.shape[-1]
    gone = given_up.gather(2, source)
    if graph.kept is not None:
        gone = gone & (graph.kept if graph.kept.dim() == 3 else graph.kept.any(1))
    number = torch.arange(agents, device=source.device)
    if ranking is None:
        ranking = (number.unsqueeze(1) - number.unsqueeze(0)).remainder(agents).float()
    out = given_up | (number.unsqueeze(1) == number)
    out = out.scatter(2, source, True)
    if alive is not None:
        out = out | ~alive.unsqueeze(1)
    scores = ranking.to(source.device).expand_as(out).masked_fill(out, -torch.inf)
    best = scores.topk(min(source.shape[-1], agents), -1)
    place = (gone.cumsum(-1) - 1).clamp_min(0)  # the first sender given up gets the best one, and so on
    left = best.values.gather(2, place) > -torch.inf
    return graph._replace(source=torch.where(gone & left, best.indices.gather(2, place), source))
