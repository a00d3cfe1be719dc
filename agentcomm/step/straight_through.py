"""Straight-through graphs and gates in an update: which links their recorded decisions closed, and their weights.

The forward pass always uses the recorded decision, and the gradient is that of a relaxed one, w = open + s - sg(s).
Closed links have a gradient as well (:mod:`policies.parts.mixing`), so that what was not heard is judged, too. A link
that was asked for but lost or refused has none, and closed ones would be lost as often: their gradient is scaled by the
share of the messages asked for that were delivered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.traffic import like, per_round

MOVED = 0.25  # share of the decisions that are moved


class Choice(NamedTuple):
    """Recorded straight-through decisions, of gates [R, N] or of edges [R, N, k].

    Attributes:
        relaxed: The relaxed decisions, given the recorded noise; above 0.5 where they would be open.
        open: Bool, the recorded decisions.
        known: Bool, those that were made: not those of members that have left.
    """

    relaxed: Tensor
    open: Tensor
    known: Tensor

    @property
    def flipped(self) -> Tensor:
        """Bool, recorded decisions that the present logits would change."""
        return ((self.relaxed > 0.5) != self.open) & self.known


class Carried(NamedTuple):
    """How the links of recorded steps carry gradient to graph and gates; R rows.

    Attributes:
        source: [R, N, K] int64, senders: those of the graph, then those that are offered to a learned one.
        openness: [R, N], 1 where a gate was open and 0 where it was closed, with the gradient of the relaxed gate.
        weight: [R, N, K] as in :class:`agentcomm.contracts.inbox.Inbox`, [R, G, N, K] with a graph per round, or None.
        closed: Bool, shaped like ``weight``, or None.
        listening: [R, N], or None.
        choices: The decisions.
    """

    source: Tensor
    openness: Tensor
    weight: Tensor | None
    closed: Tensor | None
    listening: Tensor | None
    choices: tuple[Choice, ...]


def carry(
    policy: CommPolicy,
    rows: Mapping[str, Tensor],
    hidden: Tensor,
    logit: Tensor | None,
    graph_gradient: bool,
    frozen: Tensor | bool,
    moved: torch.Generator | None = None,
) -> Carried:
    """The weights of recorded links.

    Args:
        policy: The policy.
        rows: Columns of :func:`agentcomm.step.replay.reevaluate`; of straight-through decisions ``asked`` and
            ``closed`` [R, N, k].
        hidden: [R, N, H], before any message.
        logit: [R, N] gate logits; None without a gate.
        graph_gradient: Whether gradients reach the parameters of a learned graph.
        frozen: Whether no gradient reaches straight-through decisions, [] bool or known beforehand.
        moved: Chooses decisions to move by a random part of the way towards the opposite one; only these have a
            gradient then. None leaves all as recorded.
    """
    links, closed, choices = rows["links"].long(), rows.get("closed"), []
    gate = rows["gate"]
    openness = gate.to(hidden.dtype)
    source = _offered(links) if graph_gradient else links
    by_gate = like(closed, _of_links(policy, gate, source))  # what the gate said about each link
    ratio = 1.0 if closed is None else _delivered(policy, rows, links)
    weight = listening = None
    if policy.topology.relaxed or graph_gradient:
        kept = _kept(policy, rows, by_gate)
        relaxed, value = _decided(kept, policy.topology.weight(source, rows["draw"], hidden), frozen, moved)
        weight = value + _change(kept, relaxed, ratio)
        if graph_gradient:
            closed = _closed_offers(rows, closed, by_gate, source, links)
        else:
            choices.append(Choice(relaxed, kept, rows["asked"] | rows["closed"]))
    if logit is not None and policy.gate.straight_through:
        soft, value = _decided(gate, policy.gate.weight(logit, rows["gate_noise"]), frozen, moved)
        choices.append(Choice(soft, gate, rows.get("alive", torch.ones_like(gate))))
        openness = openness + _change(gate, soft, 1.0)
        opened = value + _change(gate, soft, ratio)
        if policy.gate.side == "receiver":
            listening = opened
            weight = None if weight is None else weight * like(closed, gate.unsqueeze(-1))
        else:
            spoken = like(closed, _of_links(policy, opened, source))
            weight = spoken if weight is None else weight * spoken
    if frozen is True:  # nothing but masks is needed
        return Carried(source, openness.detach(), None, None, None, tuple(choices))
    return Carried(source, openness, weight, closed, listening, tuple(choices))


def _decided(
    open_: Tensor, relaxed: Tensor | None, frozen: Tensor | bool, moved: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Relaxed decisions, with gradient where they are to have one, and the values of the decisions, moved or not."""
    if relaxed is None:
        raise ValueError("a graph that is sampled in updates needs weights")
    value, fixed = open_.to(relaxed.dtype), relaxed.detach()
    if moved is not None:
        chosen, part = torch.rand((2, *open_.shape), generator=moved, device=open_.device)
        away = chosen < MOVED
        relaxed = torch.where(away, relaxed, fixed)
        value = torch.where(open_, 1 - part * away, part * away)
    if isinstance(frozen, bool):
        return fixed if frozen else relaxed, value
    return torch.where(frozen, fixed, relaxed), value


def _change(open_: Tensor, relaxed: Tensor, ratio: float | Tensor) -> Tensor:
    """0 with the gradient of relaxed decisions, times ``ratio`` where they were closed."""
    change = relaxed - relaxed.detach()
    return change if isinstance(ratio, float) else torch.where(open_, change, change * ratio)


def _of_links(policy: CommPolicy, gate: Tensor, source: Tensor) -> Tensor:
    """[R, N, K], of each link the gate [R, N] that decides on it."""
    if policy.gate is not None and policy.gate.side == "sender":
        return gate.gather(1, source.flatten(1)).view_as(source)  # whose gradient has no entry per pair of agents
    return gate.unsqueeze(-1).expand_as(source)


def _kept(policy: CommPolicy, rows: Mapping[str, Tensor], by_gate: Tensor) -> Tensor:
    """[R, N, K] bool, edges that the graph kept, given what gates said of each link; [R, G, N, K] per round."""
    if not policy.topology.relaxed:
        degree = rows["links"].shape[-1]
        return (torch.arange(by_gate.shape[-1], device=by_gate.device) < degree).expand_as(by_gate)
    closed = rows["closed"]
    # A link is closed if either its edge or its gate is, but not both.
    straight = policy.gate is not None and policy.gate.straight_through
    return closed != by_gate if straight else ~closed


def _offered(links: Tensor) -> Tensor:
    """[R, N, N - 1] int64, the senders ``links`` [R, N, k], and after them all others but the receiver itself."""
    rows, agents, degree = links.shape
    free = ~torch.eye(agents, dtype=torch.bool, device=links.device).expand(rows, -1, -1)
    free = free.scatter(2, links, torch.zeros_like(links, dtype=torch.bool))
    others = free.nonzero()[:, 2].view(rows, agents, agents - 1 - degree)
    return torch.cat([links, others], 2)


def _closed_offers(
    rows: Mapping[str, Tensor], closed: Tensor | None, by_gate: Tensor, source: Tensor, links: Tensor
) -> Tensor:
    """[R, N, N - 1] bool, closed links, among them offered ones between present members with open gates."""
    offered = by_gate[..., links.shape[-1] :]
    if "alive" in rows:
        alive = rows["alive"]
        senders = alive.unsqueeze(1).expand(-1, alive.shape[1], -1).gather(2, source[..., links.shape[-1] :])
        offered = offered & senders & alive.unsqueeze(-1)
    first = torch.zeros_like(links, dtype=torch.bool) if closed is None else closed
    return torch.cat([first, offered], -1)


def _delivered(policy: CommPolicy, rows: Mapping[str, Tensor], links: Tensor) -> Tensor:
    """[], share of the messages asked for that were delivered; 1 if none was asked for."""
    asked = torch.stack([per_round(rows["asked"], round_) for round_ in range(policy.rounds)], 1)
    if policy.autoregressive:
        asked[:, -1] &= links < torch.arange(links.shape[1], device=links.device).view(1, -1, 1)
    count = asked.sum()
    return torch.where(count > 0, (asked & rows["mask"][..., : links.shape[-1]]).sum() / count.clamp_min(1), 1.0)
