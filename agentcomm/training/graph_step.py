"""Updates of a learned graph: one step per update from new rollouts, or steps on held-out worlds.

See :mod:`policies.graphs.learned` for the two estimators. Either way the model's parameters stay fixed
(first-order bi-level optimization: Liu et al., ICLR 2019, arXiv 1806.09055, as CommFormer uses it).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from agentcomm.base.errors import NumberError
from agentcomm.base.numbers import FIXES, all_finite

Rows = dict[str, Tensor]


def score_loss(topology: Any, rows: Mapping[str, Tensor], rounds: int) -> Tensor:
    """Score-function loss: minus the credit of each sampled row times its log-probability, averaged over graphs.

    A row is the senders of one receiver. Within a step it matters to the receiver itself and, if there are further
    rounds, to those whom the receiver's messages reach in them. Its credit is the sum of their advantages, each
    compared with the same agent's mean under all graphs. Crediting every row with the whole team's advantage has the
    same mean where agents interact in no other way, but N times the variance.

    Args:
        topology: A learned graph.
        rows: Columns ``draw`` [R], ``links`` [R, N, k], ``advantage`` [R, N] (normalized), with members that can
            leave ``alive`` [R, N].
        rounds: Rounds of messages per step.
    """
    different, which = rows["draw"].unique(return_inverse=True)
    there = rows["alive"].float() if "alive" in rows else torch.ones_like(rows["advantage"])
    none = there.new_zeros(len(different), there.shape[1])
    count = none.index_add(0, which, there)
    gained = none.index_add(0, which, rows["advantage"] * there)
    gained = gained / count.clamp_min(1) - gained.sum(0) / count.sum(0).clamp_min(1)
    gained = gained.masked_fill(count == 0, 0.0)
    place = torch.arange(len(which), device=which.device)
    first = torch.full_like(different, len(which)).scatter_reduce_(0, which, place, "amin")
    source = rows["links"][first].long()
    credit = reached = gained
    for _ in range(rounds - 1):
        heard_by = torch.zeros_like(gained).scatter_add_(1, source.flatten(1), _of_receivers(reached, source))
        credit, reached = credit + heard_by, heard_by
    share = count / count.sum().clamp_min(1)
    loss: Tensor = -(credit * topology.log_probability(source, different) * share).sum()
    return loss


def _of_receivers(values: Tensor, source: Tensor) -> Tensor:
    """Values [U, N] of receivers at each of their links, [U, N * k]."""
    return values.unsqueeze(-1).expand_as(source).flatten(1)


class GraphStep:
    """Updates the parameters of a learned graph.

    Args:
        topology: A learned graph.
        parameters: Its parameters.
        optimizer: Their optimizer.
        rounds: Rounds of messages per step.
    """

    def __init__(
        self, topology: Any, parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, rounds: int
    ) -> None:
        self.topology, self.parameters, self.optimizer, self.rounds = topology, parameters, optimizer, rounds

    @property
    def due(self) -> bool:
        """Whether the graph still learns: until training uses the executed graph."""
        return not bool(self.topology.exact)

    def on_fresh(self, rows: Mapping[str, Tensor]) -> None:
        """One step from rollouts that the model has not been updated with."""
        if self.due and not self.topology.needs_held_out:
            self.step(score_loss(self.topology, rows, self.rounds))

    def step(self, loss: Tensor) -> None:
        """One gradient step; gradients of other parameters are not changed.

        Raises:
            NumberError: If the loss or a gradient is not finite; the parameters are left as they were.
        """
        gradients = torch.autograd.grad(loss, self.parameters)
        if not all_finite([loss, *gradients]):
            part = "gradient" if all_finite([loss]) else "loss"
            raise NumberError(
                f"topology {self.topology.name!r}: the {part} of the graph is not finite; {FIXES['policy']}"
            )
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
