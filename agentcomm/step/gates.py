"""Gates: which agents communicate in a step, and the resulting links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from agentcomm.base.state import State
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.topology import Graph
from agentcomm.contracts.traffic import Links


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
        noise: [B, N] noise with which straight-through gates were sampled; None without such gates.
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
) -> Gates:
    """Decide which gates are open.

    Args:
        policy: The policy, whose gate decides; without a gate all are open.
        hidden: [B, N, H] state of the agents before any message.
        generator: Samples gates; None opens those that are more likely open than closed.
        control: Controls the gates instead of the policy.
    """
    shape, zero = hidden.shape[:2], hidden.new_zeros(hidden.shape[:2])
    if control is not None:
        chance = torch.rand(shape, generator=control.generator, device=hidden.device)
        return Gates(chance < control.probability, None, zero)
    logit = policy.listen(hidden)
    if logit is None:
        return Gates(torch.ones(shape, dtype=torch.bool, device=hidden.device), None, zero)
    if generator is None:
        open_, noise = logit > 0, zero
    else:
        uniform = torch.rand(shape, generator=generator, device=hidden.device).clamp(1e-7, 1 - 1e-7)
        # Logistic noise: open with probability sigmoid(logit).
        noise = uniform.logit()
        open_ = logit + noise > 0
    if policy.gate.straight_through:
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

    def of_senders(flag: Tensor) -> Tensor:
        own = flag.unsqueeze(1).expand(-1, flag.shape[1], -1).gather(2, graph.source)
        return own.unsqueeze(1) if graph.kept is not None and graph.kept.dim() == 4 else own

    if policy.gate is not None and policy.gate.side == "sender":
        speaking = of_senders(gate)
        open_, carried = torch.ones_like(gate), speaking if carried is None else carried & speaking
    if alive is not None:
        present = of_senders(alive)
        open_, carried = open_ & alive, present if carried is None else carried & present
    return Links(graph.source, open_, carried)
