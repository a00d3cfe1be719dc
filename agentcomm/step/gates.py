"""Gates: which agents communicate in a step, and the resulting links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from agentcomm.base.state import State
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.topology import Graph
from agentcomm.contracts.traffic import Links, like


@dataclass(frozen=True)
class GateControl(State):
    """Controls gates in place of the policy: always open (1), always closed (0), or open with a probability.

    Attributes:
        probability: Probability that a gate is open, sampled for each agent and step.
        generator: Generator of the samples.
    """

    keeps: ClassVar[tuple[str, ...]] = ("generator",)

    probability: float
    generator: torch.Generator


class Gates(NamedTuple):
    """The gates of one step.

    Attributes:
        open: [B, N] bool.
        noise: [B, N] noise with which straight-through gates were sampled, infinite where a gate was forced open and
            its logit did not matter; None without such gates.
        log_probability: [B, N] log-probability of gates that are actions; 0 otherwise.
    """

    open: Tensor
    noise: Tensor | None
    log_probability: Tensor


def gate_log_probability(logit: Tensor, open_: Tensor) -> Tensor:
    """Log-probability [B, N] of recorded gates [B, N], given their logits [B, N]."""
    return nn.functional.logsigmoid(torch.where(open_, logit, -logit))


def open_gates(
    policy: CommPolicy,
    hidden: Tensor,
    generator: torch.Generator | None = None,
    control: GateControl | None = None,
    explores: bool = False,
) -> Gates:
    """Decide which gates are open.

    Args:
        policy: The policy, whose gate decides; without a gate all are open.
        hidden: [B, N, H] state of the agents before any message.
        generator: Samples gates; None opens those that are more likely open than closed.
        control: Controls the gates instead of the policy.
        explores: Whether some straight-through gates are forced open.
    """
    shape, zero = hidden.shape[:2], hidden.new_zeros(hidden.shape[:2])
    if control is not None:
        chance = torch.rand(shape, generator=control.generator, device=hidden.device)
        return Gates(chance < control.probability, None, zero)
    if policy.gate is None:
        return Gates(torch.ones(shape, dtype=torch.bool, device=hidden.device), None, zero)
    logit = policy.listen(hidden)
    if generator is None:
        open_, noise = logit > 0, zero
    else:
        uniform = torch.rand(shape, generator=generator, device=hidden.device).clamp(1e-7, 1 - 1e-7)
        # Logistic noise: open with probability sigmoid(logit).
        noise = uniform.logit()
        open_ = logit + noise > 0
    if policy.gate.straight_through:
        if explores and generator is not None and policy.gate.forced_open:
            forced = torch.rand(shape, generator=generator, device=hidden.device) < policy.gate.forced_open
            open_, noise = open_ | forced, noise.masked_fill(forced, float("inf"))
        return Gates(open_, noise, zero)
    return Gates(open_, None, gate_log_probability(logit, open_))


def make_links(policy: CommPolicy, graph: Graph, gate: Tensor, alive: Tensor | None) -> Links:
    """The links of a graph between present members whose gates are open.

    Args:
        policy: The policy, whose gates are at senders or receivers.
        graph: The communication graph.
        gate: [B, N] bool, open gates.
        alive: [B, N] bool, present members; None for all.
    """
    open_, carried = gate, graph.kept
    if policy.gate is not None and policy.gate.side == "sender":
        speaking = like(carried, _of_senders(gate, graph.source))
        open_, carried = torch.ones_like(gate), speaking if carried is None else carried & speaking
    if alive is not None:
        present = like(carried, _of_senders(alive, graph.source))
        open_, carried = open_ & alive, present if carried is None else carried & present
    return Links(graph.source, open_, carried)


def closed_links(policy: CommPolicy, graph: Graph, gate: Tensor, alive: Tensor | None) -> Tensor | None:
    """Links that a straight-through gate or an edge of a dynamic graph closed; None without either.

    One of the two must have closed the link alone: otherwise opening one would change nothing.

    Args:
        policy: The policy.
        graph: The communication graph.
        gate: [B, N] bool, open gates.
        alive: [B, N] bool, present members; None for all.

    Returns:
        [B, N, k] bool, or [B, G, N, k] with a graph per round.
    """
    straight = policy.gate is not None and policy.gate.straight_through
    if not straight and not policy.topology.relaxed:
        return None
    sender = policy.gate is not None and policy.gate.side == "sender"
    opened = _of_senders(gate, graph.source) if sender else gate.unsqueeze(-1).expand_as(graph.source)
    opened = like(graph.kept, opened)
    kept = torch.ones_like(opened) if graph.kept is None else graph.kept
    closed = torch.zeros_like(opened)
    if policy.topology.relaxed:
        closed = closed | (~kept & opened)
    if straight:
        closed = closed | (kept & ~opened)
    if alive is not None:
        closed = closed & like(graph.kept, alive.unsqueeze(-1) & _of_senders(alive, graph.source))
    return closed


def drop_links(policy: CommPolicy, links: Links, generator: torch.Generator | None) -> Links:
    """The links without a random share, so that the receivers of straight-through gates learn both cases."""
    if policy.gate is None or not policy.gate.straight_through or not policy.gate.dropped:
        return links
    stays = torch.rand(links.source.shape, generator=generator, device=links.source.device) >= policy.gate.dropped
    return links._replace(carried=stays if links.carried is None else links.carried & like(links.carried, stays))


def _of_senders(flag: Tensor, source: Tensor) -> Tensor:
    """[B, N, k], of each sender ``source`` [B, N, k] its entry of ``flag`` [B, N]."""
    return flag.unsqueeze(1).expand(-1, flag.shape[1], -1).gather(2, source)
