"""Reevaluation of recorded decisions: the same messages under the current parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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


class _Heard(NamedTuple):
    """Gates and messages of recorded steps; see :class:`Reevaluation`.

    Attributes:
        state: [R, N, H], state of the agents after the last round.
    """

    state: Tensor
    gate_log_probability: Tensor
    gate_entropy: Tensor
    openness: Tensor
    nats: Tensor | None


class Recalled(NamedTuple):
    """One step of sequences.

    Attributes:
        memory: [C, N, S] memory before the step.
        hidden: [C, N, H] hidden vectors before any message.
        heard: Gates and messages; None if memory does not depend on them.
    """

    memory: Tensor
    hidden: Tensor
    heard: _Heard | None


def reevaluate(policy: CommPolicy, rows: Mapping[str, Tensor], graph_gradient: bool = False) -> Reevaluation:
    """Reevaluate recorded decisions, repeating the effect of the network on every message.

    Args:
        policy: The policy.
        rows: Columns ``observation`` [R, N, O], ``action`` [R, N], ``gate`` [R, N], ``links`` [R, N, k],
            ``mask`` [R, rounds, N, M]; where messages were disturbed ``source`` and ``scale`` [R, rounds, N, M] and
            ``delta`` [R, rounds, N, M, D]; with a sampled graph ``draw`` [R], with straight-through gates
            ``gate_noise`` [R, N], with a codec ``coding`` [R, rounds, N, D], with noisy messages ``noise_draw`` [R],
            with members that can leave ``alive`` [R, N]. For policies with a memory, rows are sequences, step by step
            (:meth:`agentcomm.step.chunks.Chunks.pack`).
        graph_gradient: Whether gradients reach the graph's parameters.
    """
    observation, action = _observation(rows), rows["action"].long()
    heard: _Heard | None = None
    if policy.memory_width:
        steps = list(unroll(policy, rows, graph_gradient))
        hidden = torch.cat([step.hidden for step in steps])
        if policy.keeps_heard:
            heard = _joined([step.heard for step in steps if step.heard is not None])
    else:
        hidden = _present(policy.encode(observation), rows)
    if heard is None:
        heard = _hear(policy, rows, hidden, graph_gradient)
    log_probabilities = policy.act(heard.state).log_softmax(-1)
    return Reevaluation(
        log_probability=log_probabilities.gather(-1, action.unsqueeze(-1)).squeeze(-1),
        gate_log_probability=heard.gate_log_probability,
        entropy=-(log_probabilities.exp() * log_probabilities).sum(-1),
        gate_entropy=heard.gate_entropy,
        value=policy.value(hidden),
        openness=heard.openness,
        nats=heard.nats,
        auxiliary=policy.auxiliary(observation, hidden),
    )


def unroll(policy: CommPolicy, rows: Mapping[str, Tensor], graph_gradient: bool = False) -> Iterator[Recalled]:
    """Recall the memory of sequences step by step, from the recorded one at their start.

    Args:
        policy: A policy with a memory.
        rows: As for :func:`reevaluate`.
        graph_gradient: Whether gradients reach the graph's parameters.
    """
    encoded, memory, start = policy.encode(_observation(rows)), rows["memory"], 0
    columns = {name: value for name, value in rows.items() if name not in ("memory", "sizes")}
    for size in rows["sizes"].tolist():
        step = {name: value[start : start + size] for name, value in columns.items()}
        memory = memory[:size].masked_fill(step["first"].view(-1, 1, 1), 0.0)
        before = memory
        hidden, memory = policy.recall(encoded[start : start + size], memory)
        hidden, heard = _present(hidden, step), None
        if policy.keeps_heard:
            heard = _hear(policy, step, hidden, graph_gradient)
            state, memory = policy.retain(heard.state, memory)
            heard = heard._replace(state=state)
        memory = _present(memory, step)
        start += size
        yield Recalled(before, hidden, heard)


def _observation(rows: Mapping[str, Tensor]) -> Tensor:
    observation = rows["observation"]
    return observation if observation.is_floating_point() else observation.long()


def _present(vectors: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
    """Vectors [R, N, ...], 0 for members that have left."""
    return vectors * rows["alive"].unsqueeze(-1) if "alive" in rows else vectors


def _joined(parts: Sequence[_Heard]) -> _Heard:
    """One step after the other."""
    nats = [part.nats for part in parts if part.nats is not None]
    state, log, entropy, openness = (torch.cat(list(column)) for column in list(zip(*parts, strict=True))[:4])
    return _Heard(state, log, entropy, openness, torch.cat(nats) if nats else None)


def _hear(policy: CommPolicy, rows: Mapping[str, Tensor], hidden: Tensor, graph_gradient: bool) -> _Heard:
    """Repeat the gates and messages of recorded steps [R], given their hidden vectors [R, N, H]."""
    links, action = rows["links"].long(), rows["action"].long()
    logit = policy.listen(hidden)
    openness = rows["gate"].to(hidden.dtype)
    gate_entropy = gate_log = torch.zeros_like(openness)
    weight = closed = None
    if policy.topology.dynamic or graph_gradient:
        weight = policy.topology.weight(links, rows["draw"], hidden)
    if weight is not None and "asked" in rows:
        weight, closed = rows["asked"] + weight - weight.detach(), _closed(rows, links)
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
        now = [None if part is None else per_round(part, round_) for part in (weight, closed)]
        return _inbox(rows, links, round_, spoken, *now)

    state = policy.communicate(hidden, deliver, action)
    return _Heard(state, gate_log, gate_entropy, openness, torch.stack(nats, 1) if nats else None)


def _gate_weight(policy: CommPolicy, openness: Tensor, links: Tensor) -> Tensor:
    """Factors of value 1, [R, N, k] or [R, N, 1], through which gradients reach straight-through gates."""
    at = openness.unsqueeze(-1)
    if policy.gate.side == "sender":
        at = openness.unsqueeze(1).expand(-1, openness.shape[1], -1).gather(2, links)
    # The value is also 1 for closed gates, whose messages are masked.
    return at - at.detach() + 1


def _closed(rows: Mapping[str, Tensor], links: Tensor) -> Tensor:
    """Links [R, (G,) N, k] that were not asked for a message although both ends were present."""
    closed = ~rows["asked"]
    if "alive" not in rows:
        return closed
    alive = rows["alive"]
    both = alive.unsqueeze(-1) & alive.unsqueeze(1).expand(-1, alive.shape[1], -1).gather(2, links)
    return closed & (both if closed.dim() == 3 else both.unsqueeze(1))


def _inbox(
    rows: Mapping[str, Tensor],
    links: Tensor,
    round_: int,
    spoken: Tensor,
    weight: Tensor | None,
    closed: Tensor | None,
) -> Inbox:
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
        closed=closed if closed is None or not spare else nn.functional.pad(closed, (0, spare)),
    )
