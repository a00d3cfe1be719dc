"""The guard of actions: it holds an attack with power ``act`` to its own node and to the distributions it states.

The attack never acts itself. It states the action distribution of its node for each of M secrets, as probabilities of
the cells of the action space (:mod:`agentcomm.contracts.actions`); the guard holds the secret and draws the cell. The
place of the action within its cell remains the policy's, and tells nothing. So the guard can compute the distribution
seen by an observer that knows everything but the secret: the mean of the stated distributions, weighted by the
posterior of the secret given the actions so far. Its distance from the policy's distribution is recorded, and bounded
by the budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agentcomm.base.state import State
from agentcomm.contracts.discrete import gumbel
from agentcomm.contracts.views import ActionView
from agentcomm.guards.base import GuardBase
from agentcomm.guards.matched import other_actions

ROUNDING = 1e-9  # largest difference between the sum of a distribution and 1


@dataclass(frozen=True)
class Drawn:
    """Actions drawn from an attack's distributions, in W worlds.

    Attributes:
        step: [W] int64.
        remaining: [W] int64, budget left.
        probability: [W, C] float64, the policy's distributions.
        worlds: [W] int64 indices.
        distributions: [W, M, C] float64, the attack's distributions, one per secret.
        cell: [W] int64, the drawn cells. As the matched control: drawn from the policy's distribution again where
            the budget limits the deviation from it, else any other cell where the attack's is not the policy's.
        granted: [W] bool, where the threat model permits the distributions.
    """

    step: Tensor
    remaining: Tensor
    probability: Tensor
    worlds: Tensor
    distributions: Tensor
    cell: Tensor
    granted: Tensor


class ActionGuard(State):
    """Holds an attack's hook ``on_action`` to its threat model.

    Args:
        base: The attack; its threat model has the power ``act``.

    Attributes:
        node: The agent whose actions it chooses.
        secret: [B] int64, the secret that its actions encode in this episode; -1 before the first action.
        posterior: [B, M] float64, belief about the secret of an observer that knows the policy, its input and the
            attack, and has seen all actions of the episode.
        deviation: [B] float64, largest difference so far between a cell's probability to that observer and
            under the policy.
        acted: [B] int64, cells drawn from the attack's distributions so far.
        changed: [B] int64, how many of them differ from those of the policy's actions.
        leaked: [B] float64, bits that the actions of each world's last complete episode leaked about its secret.
        told: [B] bool, whether the secret was then the observer's only best guess.
    """

    keeps = ("secret", "posterior", "deviation", "acted", "changed", "leaked", "told")

    def __init__(self, base: GuardBase) -> None:
        self.base, self.node = base, base.identity
        worlds, secrets, device = base.shape.num_worlds, base.announced("secrets"), base.shape.device
        if secrets < 1:
            raise ValueError(f"secrets() must be at least 1, not {secrets}")
        self.secret = torch.full((worlds,), -1, dtype=torch.int64, device=device)
        self.posterior = torch.full((worlds, secrets), 1 / secrets, dtype=torch.float64, device=device)
        self.deviation = torch.zeros(worlds, dtype=torch.float64, device=device)
        self.acted = torch.zeros(worlds, dtype=torch.int64, device=device)
        self.changed = torch.zeros_like(self.acted)
        self.leaked = torch.zeros_like(self.deviation)
        self.told = torch.zeros(worlds, dtype=torch.bool, device=device)

    def reset(self, worlds: Tensor) -> None:
        """Start new episodes with new secrets in the given worlds ([W] indices)."""
        known = self.posterior[worlds]
        self.leaked[worlds] = math.log2(known.shape[1]) + torch.special.xlogy(known, known).sum(1) / math.log(2)
        other = known.scatter(1, self.secret[worlds].clamp_min(0).unsqueeze(1), -1.0).amax(1)
        mine = known.gather(1, self.secret[worlds].clamp_min(0).unsqueeze(1)).squeeze(1)
        self.told[worlds] = (self.secret[worlds] >= 0) & (mine > other)
        self.secret[worlds] = -1
        self.posterior[worlds] = 1 / self.posterior.shape[1]

    def draw(
        self, probability: Tensor, noise: Tensor | None, worlds: Tensor, step: Tensor, greedy: bool
    ) -> tuple[Drawn, Tensor] | None:
        """Draw the cells of its node's actions from the attack's distributions, where its budget allows.

        Args:
            probability: [W, C] float64, the policy's distributions.
            noise: [W, C] Gumbel noise that the policy's actions are drawn with; None if there is none.
            worlds: [W] int64 indices of the worlds in which the node acts now.
            step: [B] int64.
            greedy: Whether the team decides greedily.

        Returns:
            The draws in K of these worlds, and their positions [K] among the W; None if the attack leaves all actions
            to the policy.
        """
        remaining = self.base.remaining(step)[worlds]
        able = (remaining > 0).nonzero().squeeze(-1)
        if not len(able):
            return None
        at, probability = worlds[able], probability[able]
        step, remaining = step[at], remaining[able]
        answer = self.base.ask("on_action", self._view(step, remaining, probability, at))
        if answer is None:
            return None
        distributions, granted = self._judge(answer, probability, at, greedy)
        self.base.charge(at, granted.long())
        # Always one number for each of the B worlds, so that worlds do not affect each other's draws.
        fresh = torch.randint(
            distributions.shape[1], self.secret.shape, generator=self.base.own, device=distributions.device
        )
        self.secret = torch.where(self.secret < 0, fresh, self.secret)
        chosen = distributions[torch.arange(len(distributions), device=distributions.device), self.secret[at]].log()
        if not greedy:
            noise = self._noise(probability)[at] if noise is None else noise[able]
            chosen = chosen + noise
        cell = chosen.argmax(-1)
        if self.base.run_as == "control":
            cell = self._control(cell, probability, None if greedy else noise, at)
        return Drawn(step, remaining, probability, at, distributions, cell, granted), able

    def _noise(self, probability: Tensor) -> Tensor:
        """Gumbel noise [B, C], where the noise of the policy's actions is of another kind."""
        return gumbel((len(self.secret), probability.shape[-1]), self.base.own, probability.device)

    def _control(self, cell: Tensor, probability: Tensor, noise: Tensor | None, worlds: Tensor) -> Tensor:
        """The cells [W] of the matched control; it draws for each of the B worlds, as the secret is drawn."""
        shape = (len(self.secret), probability.shape[-1])
        luck = torch.rand(shape, generator=self.base.chance, device=probability.device, dtype=torch.float64)[worlds]
        if self.base.threat.budget.deviation is not None:
            return (probability.log() - (-luck.clamp_min(1e-300).log()).log()).argmax(-1)
        intended = (probability.log() if noise is None else probability.log() + noise).argmax(-1)
        return other_actions(intended, cell != intended, shape[1], luck[:, 0])

    def _view(self, step: Tensor, remaining: Tensor, probability: Tensor, worlds: Tensor) -> ActionView:
        common = self.base.shown(step, remaining)
        return ActionView(**common, probability=probability.clone(), worlds=worlds.clone())

    def _judge(self, answer: object, probability: Tensor, worlds: Tensor, greedy: bool) -> tuple[Tensor, Tensor]:
        """Its distributions, with the policy's in place of invalid ones; and [W] bool, where they are permitted."""
        base, actions = self.base, probability.shape[-1]
        shape = (len(worlds), self.posterior.shape[1], actions)
        distributions = base.take_tensor("what on_action returns", answer, shape, torch.float64)
        base.require_finite("what on_action returns", distributions, worlds=worlds)
        valid = (distributions >= 0).all(-1) & ((distributions.sum(-1) - 1).abs() <= ROUNDING)
        granted = valid.all(-1)
        base.violate("act by an invalid distribution", ~granted)
        distributions = torch.where(granted.view(-1, 1, 1), distributions, probability.unsqueeze(1))
        if greedy:
            distributions = nn.functional.one_hot(distributions.argmax(-1), actions).to(distributions.dtype)
        off = self._deviation(distributions, probability, worlds)
        if base.threat.budget.deviation is not None:
            too_far = granted & (off > base.threat.budget.deviation)
            base.violate("act beyond the deviation", too_far)
            granted = granted & ~too_far
        self.deviation[worlds] = self.deviation[worlds].maximum(off.masked_fill(~granted, 0.0))
        self.acted[worlds] += granted
        return distributions, granted

    def overrule(self, drawn: Drawn, intended: Tensor) -> Tensor:
        """The cells [W] of the node's actions: the drawn ones where permitted, else the policy's ``intended`` [W]."""
        taken = torch.where(drawn.granted, drawn.cell, intended)
        self.changed[drawn.worlds] += taken != intended
        return taken

    def settle(self, drawn: Drawn, cell: Tensor, resample: Tensor, replaced: Tensor) -> None:
        """Update the posterior with the actions taken in the end, and show their cells to the attack.

        Args:
            drawn: The draws.
            cell: [W] int64, cells of the actions that the node took.
            resample: [W] float64, chance that a defense resampled the action from the policy's distribution.
            replaced: [W] bool, actions chosen by a defense, which reveal nothing.
        """
        where = drawn.granted & ~replaced
        worlds, distributions, probability, taken, again = (
            x[where] for x in (drawn.worlds, drawn.distributions, drawn.probability, cell, resample)
        )
        index, again = taken.view(-1, 1), again.view(-1, 1)
        likelihood = distributions.gather(2, index.unsqueeze(1).expand(-1, distributions.shape[1], -1)).squeeze(-1)
        posterior = self.posterior[worlds] * ((1 - again) * likelihood + again * probability.gather(1, index))
        # Actions of a matched control may be impossible to an observer that believes in the attack.
        total = posterior.sum(-1, keepdim=True)
        self.posterior[worlds] = torch.where(total > 0, posterior / total, 1 / posterior.shape[1])
        shown = self._view(drawn.step[where], drawn.remaining[where], probability, worlds)
        self.base.ask("after_action", shown, distributions, taken)

    def _deviation(self, distributions: Tensor, probability: Tensor, worlds: Tensor) -> Tensor:
        """[W], largest difference between the distribution that an observer sees and the policy's."""
        seen = (self.posterior[worlds].unsqueeze(-1) * distributions).sum(1)
        return (seen - probability).abs().amax(-1)
