"""How a learned graph learns: one step per update from fresh rollouts, or steps on held-out worlds.

See :mod:`policies.graphs.learned` for the two estimates. Either way the model's parameters stay as they are
(first-order bi-level optimization: Liu et al., ICLR 2019, arXiv 1806.09055, as CommFormer uses it).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

Rows = dict[str, Tensor]


def score_loss(topology: Any, rows: Mapping[str, Tensor]) -> Tensor:
    """Minus the advantage of each sampled graph times its log-probability, averaged over graphs.

    A graph's advantage is the mean over all steps of the worlds that used it, and all agents that were there.

    Args:
        topology: A learned graph.
        rows: Columns ``draw`` [R], ``links`` [R, N, k], ``advantage`` [R, N] (normalized), with members that come and
            go ``alive`` [R, N].
    """
    different, which = rows["draw"].unique(return_inverse=True)
    there = rows["alive"].float() if "alive" in rows else torch.ones_like(rows["advantage"])
    none = there.new_zeros(len(different))
    count = none.index_add(0, which, there.sum(1))
    gained = none.index_add(0, which, (rows["advantage"] * there).sum(1))
    place = torch.arange(len(which), device=which.device)
    first = torch.full_like(different, len(which)).scatter_reduce_(0, which, place, "amin")
    logs = topology.log_probability(rows["links"][first].long(), different).sum(1)
    advantage = gained / count - gained.sum() / count.sum()
    loss: Tensor = -(advantage * logs * count / count.sum()).sum()
    return loss


class GraphStep:
    """The graph's own optimizer.

    Args:
        topology: A learned graph.
        parameters: Its parameters.
        optimizer: Steps them.
    """

    def __init__(self, topology: Any, parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        self.topology, self.parameters, self.optimizer = topology, parameters, optimizer

    @property
    def due(self) -> bool:
        """Not any more once the executed graph is trained with."""
        return not bool(self.topology.exact)

    def on_fresh(self, rows: Mapping[str, Tensor]) -> None:
        """One step from rollouts that the model has not been trained on yet."""
        if self.due and not self.topology.needs_held_out:
            self.step(score_loss(self.topology, rows))

    def step(self, loss: Tensor) -> None:
        """One step down a loss; no other parameter's gradient is touched."""
        gradients = torch.autograd.grad(loss, self.parameters)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
