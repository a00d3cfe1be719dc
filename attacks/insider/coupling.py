"""Minimum entropy coupling, and the covert channel made of it, in all worlds at once.

A sender wants to tell one of M secrets by actions whose law must stay that of its policy. It couples what a listener
believes of the secret with the policy's law: a joint law whose marginals are these two, with as little entropy as
possible, so that the secret nearly says what is done. It acts by the row of its secret; who knows the policy and sees
the action has a new belief, the column of that action. Those who do not know the secret see actions of the policy.

Source: Markov coding games, Sokota et al., "Communicating via Markov Decision Processes" (arXiv 2107.08295), with the
max-seeking greedy coupling of Ebrahimi et al., "Minimum Entropy Coupling with Bottleneck" (arXiv 2410.21666), at full
rate. Greedy needs at most one bit more than the best coupling (Rossi, ISIT 2019).
"""

from __future__ import annotations

import torch
from torch import Tensor


def greedy_coupling(first: Tensor, second: Tensor) -> Tensor:
    """Couple laws: the largest probability left of one is paired with the largest left of the other, again and again.

    Every pairing uses up one of the two, so there are at most X + Y - 1 of them.

    Args:
        first: [B, X] float64, each row a law.
        second: [B, Y] float64.

    Returns:
        [B, X, Y], laws whose sums over Y are ``first`` and over X ``second``, up to rounding.
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
        # Of the two, the smaller is exactly zero from now on.
        left.scatter_(1, x, high - shared)
        right.scatter_(1, y, low - shared)
    return joint.view(-1, rows, columns)


def entropy(law: Tensor, dims: int = 1) -> Tensor:
    """Bits in laws [..., A], or with ``dims=2`` in joint laws [..., X, Y]."""
    terms = -torch.special.xlogy(law, law) / torch.log(law.new_tensor(2.0))
    bits: Tensor = terms.sum(tuple(range(-dims, 0)))
    return bits


def uniform_belief(worlds: int, secrets: int, device: torch.device | None = None) -> Tensor:
    """[B, M] float64, nothing known."""
    return torch.full((worlds, secrets), 1 / secrets, dtype=torch.float64, device=device)


def laws(belief: Tensor, probability: Tensor) -> Tensor:
    """By which law to act for each secret [B, M, A], given the listener's belief [B, M] and the policy's law [B, A].

    Secrets that are ruled out act as the policy does.
    """
    joint = greedy_coupling(belief, probability)
    mass = joint.sum(-1, keepdim=True)
    law = torch.where(mass > 0, joint / mass.clamp_min(1e-300), probability.unsqueeze(1))
    return law / law.sum(-1, keepdim=True)


def marginal_deviation(belief: Tensor, law: Tensor, probability: Tensor) -> Tensor:
    """[B] largest difference between the policy's law and what the laws [B, M, A] are in the mean over the belief."""
    return ((belief.unsqueeze(-1) * law).sum(1) - probability).abs().amax(-1)


def heard(belief: Tensor, law: Tensor, probability: Tensor, action: Tensor, resample: float = 0.0) -> Tensor:
    """The belief [B, M] after an action [B].

    Args:
        belief: [B, M] before.
        law: [B, M, A] in force.
        probability: [B, A] of the policy.
        action: [B] int64, what was done.
        resample: Chance that a warden drew it anew from the policy, as far as the listener thinks.
    """
    at = action.view(-1, 1)
    told = law.gather(2, at.unsqueeze(1).expand(-1, law.shape[1], -1)).squeeze(-1)
    after = belief * ((1 - resample) * told + resample * probability.gather(1, at))
    total = after.sum(-1, keepdim=True)
    # What cannot have happened, to a listener that knows of no warden, has it begin again.
    return torch.where(total > 0, after / total.clamp_min(1e-300), 1 / law.shape[1])


class Listener:
    """A colluding observer of one agent: knows its policy and what it knows, and sees what it does.

    Args:
        worlds: B.
        secrets: M.
        resample: Chance that a warden draws an action anew, as far as it thinks.
        device: Where.

    Attributes:
        belief: [B, M] float64.
    """

    def __init__(self, worlds: int, secrets: int, resample: float = 0.0, device: torch.device | None = None) -> None:
        self.belief = uniform_belief(worlds, secrets, device)
        self.resample = resample

    def see(self, probability: Tensor, action: Tensor, where: Tensor | None = None) -> None:
        """An action [B] of an agent whose policy's law was [B, A]; only in the worlds ``where`` [B] if given."""
        after = heard(self.belief, laws(self.belief, probability), probability, action, self.resample)
        self.belief = after if where is None else torch.where(where.unsqueeze(-1), after, self.belief)

    @property
    def guess(self) -> Tensor:
        """[B] int64, the likeliest secret."""
        return self.belief.argmax(-1)

    @property
    def bits(self) -> Tensor:
        """[B], by how much it knows more than at first: log2 M less what is uncertain."""
        every = torch.full_like(self.belief[:, 0], self.belief.shape[1])
        return every.log2() - entropy(self.belief)
