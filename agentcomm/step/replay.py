"""Reevaluation of recorded decisions: the same messages under the current parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.traffic import per_round
from agentcomm.step.gates import gate_log_probability


@dataclass(frozen=True)
class Reevaluation:
    """Recorded steps under the current parameters.

    Attributes:
        log_probability: [R, N] log-probability of the actions.
        gate_log_probability: [R, N] log-probability of gates that are actions; 0 otherwise.
        entropy: [R, N] entropy of the action distribution, in nats.
        gate_entropy: [R, N] entropy of gates that are actions, in nats; 0 otherwise.
        value: [R, N] expected return, in units of the normalized return.
        openness: [R, N], 1 where a gate was open and 0 where it was closed, with the gradient of straight-through
            gates.
        nats: [R, rounds, N, D] information in each entry of a message, in nats; None without message noise.
        auxiliary: The policy's auxiliary loss, a scalar; None without.
    """

    log_probability: Tensor
    gate_log_probability: Tensor
    entropy: Tensor
    gate_entropy: Tensor
    value: Tensor
    openness: Tensor
    nats: Tensor | None = None
    auxiliary: Tensor | None = None


def reevaluate(policy: CommPolicy, rows: Mapping[str, Tensor], graph_gradient: bool = False) -> Reevaluation:
    """Reevaluate recorded decisions, repeating the effect of the network on every message.

    Args:
        policy: The policy.
        rows: Columns ``observation`` [R, N, O], ``action`` [R, N], ``gate`` [R, N], ``links`` [R, N, k],
            ``mask`` [R, rounds, N, M]; where messages were disturbed ``source`` and ``scale`` [R, rounds, N, M] and
            ``delta`` [R, rounds, N, M, D]; with a sampled graph ``draw`` [R], with straight-through gates
            ``gate_noise`` [R, N], with a codec ``coding`` [R, rounds, N, D], with noisy messages ``noise_draw`` [R],
            with members that can leave ``alive`` [R, N].
        graph_gradient: Whether gradients reach the graph's parameters.
    """
    links, action, observation = rows["links"].long(), rows["action"].long(), rows["observation"]
    observation = observation if observation.is_floating_point() else observation.long()
    hidden = policy.encode(observation)
    if "alive" in rows:
        hidden = hidden * rows["alive"].unsqueeze(-1)
    logit = policy.listen(hidden)
    openness = rows["gate"].to(hidden.dtype)
    gate_entropy = gate_log = torch.zeros_like(openness)
    weight = None
    if policy.topology.dynamic or graph_gradient:
        weight = policy.topology.weight(links, rows["draw"], hidden)
    if logit is not None and policy.gate.straight_through:
        soft = policy.gate.weight(logit, rows["gate_noise"])
        openness = openness + (soft - soft.detach())
        at = _gate_weight(policy, openness, links)
        weight = at.expand(links.shape) if weight is None else weight * at
    elif logit is not None:
        gate_log = gate_log_probability(logit, rows["gate"])
        gate_entropy = nn.functional.softplus(logit) - logit * logit.sigmoid()
    nats: list[Tensor] = []

    def deliver(round_: int, spoken: Tensor) -> Inbox:
        if policy.message_noise is not None:
            spoken, information = policy.message_noise(spoken, rows["noise_draw"], round_)
            nats.append(information)
        return _inbox(rows, links, round_, spoken, None if weight is None else per_round(weight, round_))

    log_probabilities = policy.run(hidden, deliver, action).log_softmax(-1)
    return Reevaluation(
        log_probability=log_probabilities.gather(-1, action.unsqueeze(-1)).squeeze(-1),
        gate_log_probability=gate_log,
        entropy=-(log_probabilities.exp() * log_probabilities).sum(-1),
        gate_entropy=gate_entropy,
        value=policy.value(hidden),
        openness=openness,
        nats=torch.stack(nats, 1) if nats else None,
        auxiliary=policy.auxiliary(observation, hidden),
    )


def _gate_weight(policy: CommPolicy, openness: Tensor, links: Tensor) -> Tensor:
    """Factors of value 1, [R, N, k] or [R, N, 1], through which gradients reach straight-through gates."""
    at = openness.unsqueeze(-1)
    if policy.gate.side == "sender":
        at = openness.unsqueeze(1).expand(-1, openness.shape[1], -1).gather(2, links)
    # The value is also 1 for closed gates, whose messages are masked.
    return at - at.detach() + 1


def _inbox(rows: Mapping[str, Tensor], links: Tensor, round_: int, spoken: Tensor, weight: Tensor | None) -> Inbox:
    """The inboxes of a recorded round, with the agents' current payloads in place of the recorded ones."""
    mask = rows["mask"][:, round_]
    if "coding" in rows:
        spoken = spoken + rows["coding"][:, round_]
    spare = mask.shape[-1] - links.shape[-1]
    return Inbox(
        spoken,
        rows["source"][:, round_].long() if "source" in rows else links,
        mask,
        links,
        rows["scale"][:, round_] if "scale" in rows else None,
        rows["delta"][:, round_] if "delta" in rows else None,
        weight if weight is None or not spare else nn.functional.pad(weight, (0, spare), value=1.0),
    )
