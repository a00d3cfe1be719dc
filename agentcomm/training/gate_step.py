"""The gradient of straight-through gates and dynamic graphs: what a decision changes, between closed and open.

Messages pass a network that is far from linear. Where a policy is sure of its action with a message, and knows nothing
without it, the loss hardly changes near either end, and a gradient taken there says little about the difference. So a
share of the recorded decisions is moved by a random part of the way towards the other one, and the gradient is taken
there. Over the random part it averages to the difference between both decisions (integrated gradients: Sundararajan,
Taly and Yan, ICML 2017, eq. 1). The model itself learns from the recorded decisions only, which it does not see moved.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from agentcomm.base.calling import calling
from agentcomm.contracts.policy import CommPolicy
from agentcomm.step.replay import reevaluate
from agentcomm.step.straight_through import Choice

Rows = dict[str, Tensor]

ROWS = 8  # one of so many rows of a minibatch is used
MOST = 20.0  # largest ratio of probabilities


def watch(choices: tuple[Choice, ...]) -> dict[str, Tensor]:
    """Statistics of straight-through decisions; those of gradients are computed once gradients are.

    ``flipped`` is the share of recorded decisions that the present logits would change, ``gradient_open`` and
    ``gradient_closed`` the summed sizes of the loss's gradients with respect to relaxed decisions.
    """
    if not choices:
        return {}
    known = torch.stack([choice.known.sum() for choice in choices]).sum().clamp_min(1)
    found = {"flipped": torch.stack([choice.flipped.sum() for choice in choices]).sum() / known}
    for name in ("gradient_open", "gradient_closed"):
        found[name] = torch.zeros((), device=known.device)
    for choice in choices:
        if choice.relaxed.requires_grad:

            def add(gradient: Tensor, open_: Tensor = choice.open) -> None:
                size = gradient.abs()
                found["gradient_open"] += (size * open_).sum()
                found["gradient_closed"] += (size * ~open_).sum()

            choice.relaxed.register_hook(add)
    return found


def price_of(policy: CommPolicy, openness: Tensor, share: Tensor, scale: float | Tensor) -> Tensor:
    """[], cost of straight-through gates ``openness`` [R, N] with weights ``share`` [R, N], in units of advantages."""
    return policy.listening_cost() / scale * (openness * share).sum()


class GateStep:
    """Gradients of straight-through gates and dynamic graphs.

    Args:
        policy: The policy in training.
        generator: Chooses rows and decisions.
    """

    def __init__(self, policy: CommPolicy, generator: torch.Generator) -> None:
        self.policy, self.generator = policy, generator
        self.parameters: list[nn.Parameter] = []
        if policy.gate is not None and policy.gate.straight_through:
            self.parameters += policy.gate.parameters()
        if policy.topology.relaxed:
            self.parameters += policy.topology.parameters()

    def applies(self, rows: Mapping[str, Tensor]) -> bool:
        """Whether decisions of these rows can be moved: not those of sequences, which depend on each other."""
        return bool(self.parameters) and "sizes" not in rows

    def add_gradients(self, rows: Rows, scale: float | Tensor, frozen: Tensor | bool) -> dict[str, Tensor]:
        """Add the gradients of some rows to those of the parameters; returns statistics of the gradients.

        Args:
            rows: Columns of :func:`agentcomm.training.ppo.ppo_loss`.
            scale: Divisor of the advantages.
            frozen: Whether decisions are not to be changed any more, [] bool.
        """
        count = len(rows["advantage"])
        some = torch.randint(count, (max(count // ROWS, 1),), generator=self.generator, device=rows["advantage"].device)
        rows = {name: value[some] for name, value in rows.items()}
        with calling(f"policy {self.policy.name!r}", "an update"):
            now = reevaluate(self.policy, rows, frozen=frozen, moved=self.generator)
        acted = rows["active"].float()
        ratio = ((now.log_probability - rows["log_probability"]) * acted).exp().clamp(max=MOST)
        loss = -(ratio * rows["advantage"] * acted).sum() / acted.sum().clamp_min(1)
        if self.policy.gate is not None and self.policy.gate.straight_through:
            alive = rows.get("alive", torch.ones_like(rows["gate"])).float()
            loss = loss + price_of(self.policy, now.openness, alive / alive.sum().clamp_min(1), scale)
        stats = watch(now.choices)
        found = torch.autograd.grad(loss, self.parameters, allow_unused=True)  # a policy may ignore weights
        for parameter, gradient in zip(self.parameters, found, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return {name: stats[name] for name in ("gradient_open", "gradient_closed")}
