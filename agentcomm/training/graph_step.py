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


def score_loss(topology: Any, rows: Mapping[str, Tensor]) -> Tensor:
    """Score-function loss: minus the advantage of each sampled graph times its log-probability, averaged over graphs.

    A graph's advantage is the mean over all steps of the worlds that used it, and over present agents.

    Args:
        topology: A learned graph.
        rows: Columns ``draw`` [R], ``links`` [R, N, k], ``advantage`` [R, N] (normalized), with members that can
            leave ``alive`` [R, N].
    """
    different, which = rows["draw"].unique(return_inverse=True)
    there = rows["alive"].float() if "alive" in rows else torch.ones_like(rows["advantage"])
    none = there.new_zeros(len(different))
    count = none.index_add(0, which, there.sum(1))
    gained = none.index_add(0, which, (rows["advantage"] * there).sum(1))
    place = torch.arange(len(which), device=which.device)
    first = torch.full_like(different, len(which)).scatter_reduce_(0, which, place, "amin")
    logs = topology.log_probability(rows["links"][first].long(), different).sum(1)
    total = count.sum().clamp_min(1)
    advantage = gained / count.clamp_min(1) - gained.sum() / total
    loss: Tensor = -(advantage * logs * count / total).sum()
    return loss


class GraphStep:
    """Updates the parameters of a learned graph.

    Args:
        topology: A learned graph.
        parameters: Its parameters.
        optimizer: Their optimizer.
    """

    def __init__(self, topology: Any, parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        self.topology, self.parameters, self.optimizer = topology, parameters, optimizer

    @property
    def due(self) -> bool:
        """Whether the graph still learns: until training uses the executed graph."""
        return not bool(self.topology.exact)

    def on_fresh(self, rows: Mapping[str, Tensor]) -> None:
        """One step from rollouts that the model has not been updated with."""
        if self.due and not self.topology.needs_held_out:
            self.step(score_loss(self.topology, rows))

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
