"""How a recorded decision is evaluated again: the same messages, under the present parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agentcomm.contracts.inbox import Inbox
from agentcomm.deciding import gate_log_probability
from agentcomm.policy import CommPolicy


@dataclass(frozen=True)
class Evaluation:
    """A recorded step under the present parameters: all [rows, N].

    ``auxiliary`` is the policy's own loss, a scalar.
    ``nats`` [rows, rounds, N, D] is the information in each entry of what was said, where that is noisy.
    ``openness`` is 1 where a gate was open and 0 where it was shut, with the gradient of straight-through gates.
    """

    log_probability: Tensor
    gate_log_probability: Tensor
    entropy: Tensor
    gate_entropy: Tensor
    value: Tensor
    openness: Tensor
    nats: Tensor | None = None
    auxiliary: Tensor | None = None


def evaluate(policy: CommPolicy, rows: Mapping[str, Tensor], graph_gradient: bool = False) -> Evaluation:
    """Evaluate recorded decisions again, replaying what the network did to every slot.

    Args:
        policy: The policy.
        rows: Columns ``observation`` [R, N, O], ``action`` [R, N], ``gate`` [R, N], ``links`` [R, N, k],
            ``mask`` [R, rounds, N, M]; where messages were disturbed ``source`` and ``scale`` [R, rounds, N, M] and
            ``delta`` [R, rounds, N, M, D]; with a sampled graph ``draw`` [R], with straight-through gates
            ``gate_noise`` [R, N], with a codec ``coding`` [R, rounds, N, D], with a voice ``voice_draw`` [R], with
            members that come and go ``alive`` [R, N].
        graph_gradient: Whether gradients shall reach the graph's own parameters.
    """
    links, action = rows["links"].long(), rows["action"].long()
    observation = rows["observation"]
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
        at = openness.unsqueeze(-1)
        if policy.gate.side == "sender":
            at = openness.unsqueeze(1).expand(-1, openness.shape[1], -1).gather(2, links)
        # Value 1 also where shut: those messages are masked.
        at = at - at.detach() + 1
        weight = at.expand(links.shape) if weight is None else weight * at
    elif logit is not None:
        gate_log = gate_log_probability(logit, rows["gate"])
        gate_entropy = nn.functional.softplus(logit) - logit * logit.sigmoid()

    nats: list[Tensor] = []

    def deliver(round_: int, spoken: Tensor) -> Inbox:
        if policy.voice is not None:
            spoken, information = policy.voice(spoken, rows["voice_draw"], round_)
            nats.append(information)
        mask = rows["mask"][:, round_]
        if "coding" in rows:
            spoken = spoken + rows["coding"][:, round_]
        source = rows["source"][:, round_].long() if "source" in rows else links
        spare = mask.shape[-1] - links.shape[-1]
        padded = weight if weight is None or not spare else nn.functional.pad(weight, (0, spare), value=1.0)
        return Inbox(
            spoken,
            source,
            mask,
            links,
            rows["scale"][:, round_] if "scale" in rows else None,
            rows["delta"][:, round_] if "delta" in rows else None,
            padded,
        )

    log_probabilities = policy.run(hidden, deliver, action).log_softmax(-1)
    return Evaluation(
        log_probability=log_probabilities.gather(-1, action.unsqueeze(-1)).squeeze(-1),
        gate_log_probability=gate_log,
        entropy=-(log_probabilities.exp() * log_probabilities).sum(-1),
        gate_entropy=gate_entropy,
        value=policy.value(hidden),
        openness=openness,
        nats=torch.stack(nats, 1) if nats else None,
        auxiliary=policy.auxiliary(observation, hidden),
    )
