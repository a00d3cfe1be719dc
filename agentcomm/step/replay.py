"""Reevaluation of recorded decisions: the same messages under the current parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy, Steps
from agentcomm.contracts.traffic import per_round
from agentcomm.step.gates import gate_log_probability
from agentcomm.step.straight_through import Carried, Choice, carry


@dataclass(frozen=True)
class Reevaluation:
    """Recorded steps under the current parameters.

    Attributes:
        log_probability: [R, N] log-probability of the actions.
        gate_log_probability: [R, N] log-probability of gates and of choices of senders that are actions; else 0.
        entropy: [R, N] entropy of the action distribution, in nats.
        gate_entropy: [R, N] entropy of gates and of choices of senders that are actions, in nats; else 0.
        value: [R, N] expected return, in units of the normalized return.
        openness: [R, N], 1 where a gate was open and 0 where it was closed, with the gradient of straight-through
            gates.
        nats: [R, rounds, N, D] information in each entry of a message, in nats; None without message noise.
        auxiliary: The policy's auxiliary loss, a scalar; None without.
        choices: Decisions of straight-through gates and dynamic graphs.
        price: [R, N] what an agent's messages of all rounds cost; None if they cost nothing.
    """

    log_probability: Tensor
    gate_log_probability: Tensor
    entropy: Tensor
    gate_entropy: Tensor
    value: Tensor
    openness: Tensor
    nats: Tensor | None = None
    auxiliary: Tensor | None = None
    choices: tuple[Choice, ...] = ()
    price: Tensor | None = None


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
    choices: tuple[Choice, ...]
    price: Tensor | None


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


def reevaluate(
    policy: CommPolicy,
    rows: Mapping[str, Tensor],
    graph_gradient: bool = False,
    frozen: Tensor | bool = False,
    moved: torch.Generator | None = None,
) -> Reevaluation:
    """Reevaluate recorded decisions, repeating the effect of the network on every message.

    Args:
        policy: The policy.
        rows: Columns ``observation`` [R, N, O], ``action`` [R, N, ...], ``gate`` [R, N], ``links`` [R, N, k], ``mask``
            [R, rounds, N, M]; where messages were disturbed ``source`` and ``scale`` [R, rounds, N, M] and ``delta``
            [R, rounds, N, M, D]; where it is read ``age`` [R, rounds, N, M]; with a sampled graph ``draw`` [R], with
            straight-through gates ``gate_noise`` [R, N], with these or a dynamic graph ``asked`` and ``closed`` [R, N,
            k] (with a graph per round [R, G, N, k]), with a codec ``coding`` [R, rounds, N, D], with noisy messages
            ``noise_draw`` [R], with masks ``allowed`` [R, N, P], with members that can leave ``alive`` [R, N]. For
            policies with a memory, rows are sequences, step by step (:meth:`agentcomm.step.chunks.Chunks.pack`).
        graph_gradient: Whether gradients reach a learned graph's parameters.
        frozen: Whether no gradient reaches straight-through decisions, [] bool or known beforehand.
        moved: Chooses straight-through decisions to move towards the opposite ones; None leaves all as recorded. Not
            for sequences.
    """
    observation, action, allowed = _observation(rows), _action(rows), rows.get("allowed")
    heard: _Heard | None = None
    if policy.memory_width:
        steps = list(unroll(policy, rows, graph_gradient, frozen))
        hidden = torch.cat([step.hidden for step in steps])
        if policy.keeps_heard:
            heard = _joined([step.heard for step in steps if step.heard is not None])
    else:
        hidden = _present(policy.encode(observation), rows)
    if heard is None:
        heard = _hear(policy, rows, hidden, graph_gradient, frozen, moved)
    if allowed is None and (ever := policy.actions.available(action.device)) is not None:
        allowed = ever.expand(len(action), -1, -1)
    logits = policy.actions.masked(policy.act(heard.state), allowed)
    log_probability, entropy = policy.actions.judged(logits, action)
    return Reevaluation(
        log_probability=log_probability,
        gate_log_probability=heard.gate_log_probability,
        entropy=entropy,
        gate_entropy=heard.gate_entropy,
        value=policy.value(hidden),
        openness=heard.openness,
        nats=heard.nats,
        auxiliary=policy.auxiliary(Steps(observation, hidden, action, _following(rows))),
        choices=heard.choices,
        price=heard.price,
    )


def unroll(
    policy: CommPolicy, rows: Mapping[str, Tensor], graph_gradient: bool = False, frozen: Tensor | bool = False
) -> Iterator[Recalled]:
    """Recall the memory of sequences step by step, from the recorded one at their start.

    Args:
        policy: A policy with a memory.
        rows: As for :func:`reevaluate`.
        graph_gradient: As for :func:`reevaluate`.
        frozen: As for :func:`reevaluate`.
    """
    memory, sizes = rows["memory"], rows["sizes"].tolist()
    # Split at once: the gradient of a slice is as large as the whole.
    columns = {name: torch.split(value, sizes) for name, value in rows.items() if name not in ("memory", "sizes")}
    for number, encoded in enumerate(torch.split(policy.encode(_observation(rows)), sizes)):
        step = {name: parts[number] for name, parts in columns.items()}
        memory = memory[: len(encoded)].masked_fill(step["first"].unsqueeze(-1), 0.0)
        before = memory
        hidden, memory = policy.recall(encoded, memory)
        hidden, heard = _present(hidden, step), None
        if policy.keeps_heard:
            heard = _hear(policy, step, hidden, graph_gradient, frozen)
            state, memory = policy.retain(heard.state, memory)
            heard = heard._replace(state=state)
        memory = _present(memory, step)
        yield Recalled(before, hidden, heard)


def _observation(rows: Mapping[str, Tensor]) -> Tensor:
    observation = rows["observation"]
    return observation if observation.is_floating_point() else observation.long()


def _action(rows: Mapping[str, Tensor]) -> Tensor:
    action = rows["action"]
    return action if action.is_floating_point() else action.long()


def _present(vectors: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
    """Vectors [R, N, ...], 0 for members that have left."""
    return vectors * rows["alive"].unsqueeze(-1) if "alive" in rows else vectors


def _joined(parts: Sequence[_Heard]) -> _Heard:
    """One step after the other."""
    nats = [part.nats for part in parts if part.nats is not None]
    state, log, entropy, openness = (torch.cat(list(column)) for column in list(zip(*parts, strict=True))[:4])
    choices = tuple(choice for part in parts for choice in part.choices)
    prices = [part.price for part in parts if part.price is not None]
    information, price = (torch.cat(kept) if kept else None for kept in (nats, prices))
    return _Heard(state, log, entropy, openness, information, choices, price)


def _following(rows: Mapping[str, Tensor]) -> Tensor:
    """[R, N] int64, the row of a member's next step in the same episode; -1 if there is none, and without sequences."""
    if "sizes" not in rows:
        return torch.full_like(rows["gate"], -1, dtype=torch.int64)
    count, sizes = len(rows["action"]), rows["sizes"].to(rows["action"].device)
    row = torch.arange(count, device=sizes.device)
    later = nn.functional.pad(sizes[1:], (0, 1))  # as many sequences have a next step
    size, later, end = (x.repeat_interleave(sizes, output_size=count) for x in (sizes, later, sizes.cumsum(0)))
    following = torch.where(row - (end - size) < later, row + size, -1)
    ends = (following < 0).unsqueeze(1) | rows["first"].view(count, -1)[following]
    return torch.where(ends, -1, following.unsqueeze(1)).expand_as(rows["gate"])


def _hear(
    policy: CommPolicy,
    rows: Mapping[str, Tensor],
    hidden: Tensor,
    graph_gradient: bool,
    frozen: Tensor | bool,
    moved: torch.Generator | None = None,
) -> _Heard:
    """Repeat the gates and messages of recorded steps [R], given their hidden vectors [R, N, H]."""
    logit = None if policy.gate is None else policy.listen(hidden)
    carried = carry(policy, rows, hidden, logit, graph_gradient, frozen, moved)
    gate_entropy = gate_log = torch.zeros_like(carried.openness)
    if logit is not None and not policy.gate.straight_through:
        gate_log = gate_log_probability(logit, rows["gate"])
        gate_entropy = nn.functional.softplus(logit) - logit * logit.sigmoid()
    if policy.topology.acts:
        chosen, spread = policy.topology.choice(rows["links"].long(), hidden)
        gate_log, gate_entropy = gate_log + chosen, gate_entropy + spread
    nats: list[Tensor] = []
    prices: list[Tensor] = []

    def deliver(round_: int, spoken: Tensor) -> Inbox:
        if policy.message_noise is not None:
            spoken, information = policy.message_noise(spoken, rows["noise_draw"], round_)
            nats.append(information)
        if policy.message_price is not None:
            prices.append(policy.message_price(spoken))
        return _inbox(policy, rows, carried, round_, spoken)

    state = policy.communicate(hidden, deliver, _action(rows))
    kept, price = torch.stack(nats, 1) if nats else None, torch.stack(prices).sum(0) if prices else None
    return _Heard(state, gate_log, gate_entropy, carried.openness, kept, carried.choices, price)


def _inbox(policy: CommPolicy, rows: Mapping[str, Tensor], carried: Carried, round_: int, spoken: Tensor) -> Inbox:
    """The inboxes of a recorded round, with the agents' current payloads in place of the recorded ones."""
    mask, links = rows["mask"][:, round_], rows["links"].long()
    if "coding" in rows:
        spoken = spoken + rows["coding"][:, round_]
    source = rows["source"][:, round_].long() if "source" in rows else links
    scale = rows["scale"][:, round_] if "scale" in rows else None
    delta = rows["delta"][:, round_] if "delta" in rows else None
    age = rows["age"][:, round_] if "age" in rows else None
    if carried.weight is None and carried.listening is None:
        return Inbox(spoken, source, mask, links, scale, delta, age=age)
    degree, extra = links.shape[-1], carried.source.shape[-1] - links.shape[-1]
    spare = mask.shape[-1] - degree

    def spread(x: Tensor, value: float) -> Tensor:
        """[R, N, k + extra] -> [R, N, k + spare + extra], as slots lie."""
        first = nn.functional.pad(x[..., :degree], (0, spare), value=value)
        return torch.cat([first, x[..., degree:]], -1) if spare else x

    mask, source = nn.functional.pad(mask, (0, extra)), nn.functional.pad(source, (0, extra))
    closed = None
    if carried.closed is not None:
        senders = carried.source
        closed = per_round(carried.closed, round_)
        if policy.autoregressive and round_ == policy.rounds - 1:
            closed = closed & (senders < torch.arange(senders.shape[1], device=senders.device).view(1, -1, 1))
        closed = spread(closed, False) & ~mask
        # The network did not touch what was not sent.
        source = torch.where(closed, spread(senders, 0), source)
        scale = None if scale is None else nn.functional.pad(scale, (0, extra), value=1.0).masked_fill(closed, 1.0)
        if delta is not None:
            delta = nn.functional.pad(delta, (0, 0, 0, extra)).masked_fill(closed.unsqueeze(-1), 0.0)
        age = None if age is None else nn.functional.pad(age, (0, extra)).masked_fill(closed, 0)
    weight = None if carried.weight is None else spread(per_round(carried.weight, round_), 1.0)
    if weight is not None and carried.closed is not None:  # a closed link in whose slot a late message arrived
        weight = weight.masked_fill(spread(per_round(carried.closed, round_), False) & mask, 1.0)
    return Inbox(
        spoken,
        source,
        mask,
        links,
        scale,
        delta,
        weight,
        age=age,
        closed=closed,
        listening=carried.listening,
        open=None if carried.listening is None else rows["gate"],
    )
