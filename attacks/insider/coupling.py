"""Minimum entropy coupling and a covert channel built on it, batched over worlds.

A sender encodes one of M secrets in its actions, whose distribution must stay that of its policy. It couples the
listener's belief about the secret with the policy's action distribution: a joint distribution with these two as
marginals and as little entropy as possible, so that the secret nearly determines the action. The sender draws its
action from the row of its secret; a listener that knows the policy and sees the action updates its belief to the
column of that action. Observers that do not know the secret see actions distributed as by the policy.

Source: Markov coding games, Sokota et al., "Communicating via Markov Decision Processes" (arXiv 2107.08295), with the
max-seeking greedy coupling of Ebrahimi et al., "Minimum Entropy Coupling with Bottleneck" (arXiv 2410.21666), at full
rate. The greedy coupling has at most one bit more entropy than the best one (Rossi, ISIT 2019).
"""

from __future__ import annotations

import torch
from torch import Tensor


def greedy_coupling(first: Tensor, second: Tensor) -> Tensor:
    """Couple distributions greedily: pair the largest remaining probabilities of both, until none is left.

    Every pairing uses up one of the two, so there are at most X + Y - 1 of them.

    Args:
        first: [B, X] float64, one distribution per row.
        second: [B, Y] float64, one distribution per row.

    Returns:
        [B, X, Y], joint distributions whose sums over Y are ``first`` and over X ``second``, up to rounding.
    """
    left, right = first.clone(), second.clone()
    rows, columns = left.shape[1], right.shape[1]
    joint = left.new_zeros(len(left), rows * columns)
    for _ in range(rows + columns - 1):
        (high, x), (low, y) = left.max(1, keepdim=True), right.max(1, keepdim=True)
        shared = torch.minimum(high, low)
        if not bool((shared > 0).any()):
            break
        joint.scatter_add_(1, x * columns + y, shared)
        # The smaller of the two is exactly zero from now on.
        left.scatter_(1, x, high - shared)
        right.scatter_(1, y, low - shared)
    return joint.view(-1, rows, columns)


def entropy(distribution: Tensor, dims: int = 1) -> Tensor:
    """Entropy in bits of distributions [..., A], or with ``dims=2`` of joint distributions [..., X, Y]."""
    terms = -torch.special.xlogy(distribution, distribution) / torch.log(distribution.new_tensor(2.0))
    bits: Tensor = terms.sum(tuple(range(-dims, 0)))
    return bits


def uniform_belief(worlds: int, secrets: int, device: torch.device | None = None) -> Tensor:
    """[B, M] float64, the belief of a listener that has seen nothing."""
    return torch.full((worlds, secrets), 1 / secrets, dtype=torch.float64, device=device)


def action_distributions(belief: Tensor, probability: Tensor) -> Tensor:
    """The sender's action distributions for each secret [B, M, A].

    Secrets that are ruled out get the policy's distribution.

    Args:
        belief: [B, M] float64, the listener's belief about the secret.
        probability: [B, A] float64, the policy's action distribution.
    """
    joint = greedy_coupling(belief, probability)
    mass = joint.sum(-1, keepdim=True)
    rows = torch.where(mass > 0, joint / mass.clamp_min(1e-300), probability.unsqueeze(1))
    return rows / rows.sum(-1, keepdim=True)


def marginal_deviation(belief: Tensor, distributions: Tensor, probability: Tensor) -> Tensor:
    """[B], largest difference between the policy's distribution and the mean of ``distributions`` over the belief."""
    return ((belief.unsqueeze(-1) * distributions).sum(1) - probability).abs().amax(-1)


def updated_belief(
    belief: Tensor, distributions: Tensor, probability: Tensor, action: Tensor, resample: float = 0.0
) -> Tensor:
    """The posterior belief [B, M] after an action.

    Args:
        belief: [B, M] float64, the prior.
        distributions: [B, M, A] float64, the sender's action distributions.
        probability: [B, A] float64, the policy's distribution.
        action: [B] int64, the action taken.
        resample: Chance, in the listener's model, that a warden resampled the action from the policy's distribution.
    """
    at = action.view(-1, 1)
    likelihood = distributions.gather(2, at.unsqueeze(1).expand(-1, distributions.shape[1], -1)).squeeze(-1)
    after = belief * ((1 - resample) * likelihood + resample * probability.gather(1, at))
    total = after.sum(-1, keepdim=True)
    # An action that is impossible in the model of a listener that expects no warden resets its belief.
    return torch.where(total > 0, after / total.clamp_min(1e-300), 1 / distributions.shape[1])


class Listener:
    """A colluding observer of one agent that knows its policy and observations, and sees its actions.

    Args:
        worlds: B.
        secrets: M.
        resample: Chance, in its model, that a warden resamples an action.
        device: Device of the belief.

    Attributes:
        belief: [B, M] float64, its belief about the secret.
    """

    def __init__(self, worlds: int, secrets: int, resample: float = 0.0, device: torch.device | None = None) -> None:
        self.belief = uniform_belief(worlds, secrets, device)
        self.resample = resample

    def see(self, probability: Tensor, action: Tensor, where: Tensor | None = None) -> None:
        """Update the belief with an action.

        Args:
            probability: [B, A] float64, the policy's distribution.
            action: [B] int64.
            where: [B] bool, worlds in which the agent acted; None for all.
        """
        distributions = action_distributions(self.belief, probability)
        after = updated_belief(self.belief, distributions, probability, action, self.resample)
        self.belief = after if where is None else torch.where(where.unsqueeze(-1), after, self.belief)

    @property
    def guess(self) -> Tensor:
        """[B] int64, the most likely secret."""
        return self.belief.argmax(-1)

    @property
    def bits(self) -> Tensor:
        """[B], information about the secret in bits: log2 M minus the entropy of the belief."""
        every = torch.full_like(self.belief[:, 0], self.belief.shape[1])
        return every.log2() - entropy(self.belief)
