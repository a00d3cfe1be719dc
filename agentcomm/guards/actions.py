"""The guard of actions: holds an attack that acts (power ``act``) to its own node, and to the distribution it claims.

The attack never acts itself. It says by which distribution its node would act if it had to tell each of M secrets; the
guard knows the secret and draws. So the guard can compute what an observer sees that knows everything but the secret:
the mean of those distributions, weighted by what the actions so far say about the secret. How far that is from the
policy's distribution is recorded, and bounded by the budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from agentcomm.base.state import State
from agentcomm.contracts.views import ActionView
from agentcomm.guards.base import GuardBase
from agentcomm.guards.effects import check_tensor

ROUNDING = 1e-9  # by which the numbers of a distribution may miss 1 in sum


@dataclass(frozen=True)
class Drawn:
    """Actions that were drawn from an attack's distributions, in W worlds.

    Attributes:
        view: What it was shown.
        probability: [W, A] float64, the policy's distribution.
        worlds: [W] int64 indices.
        distributions: [W, M, A] float64, its distributions, one per secret.
        action: [W] int64.
        granted: [W] bool, where they are in force.
    """

    view: ActionView
    probability: Tensor
    worlds: Tensor
    distributions: Tensor
    action: Tensor
    granted: Tensor


class ActionGuard(State):
    """Holds an attack's hook ``on_action`` to its threat model.

    Args:
        base: The attack; its threat model has the power ``act``.

    Attributes:
        node: The agent whose actions it chooses.
        secret: [B] int64, what its actions tell in this episode; -1 before the first.
        posterior: [B, M] float64, what an observer believes of the secret that knows the policy, its input and the
            attack, and has seen all actions of the episode.
        deviation: [B] float64, largest difference so far between an action's probability to that observer and
            under the policy.
        acted: [B] int64, actions drawn from the attack's distributions so far.
        changed: [B] int64, those of them that differ from what the policy would have done.
        told: [B] float64, bits by which the actions of each world's last whole episode told its secret.
    """

    keeps = ("secret", "posterior", "deviation", "acted", "changed", "told")

    def __init__(self, base: GuardBase) -> None:
        self.base, self.node = base, base.identity
        worlds, secrets, device = base.shape.num_worlds, base.attack.secrets(), base.shape.device
        if secrets < 1:
            raise ValueError(f"secrets must be 1 at least, not {secrets}")
        self.secret = torch.full((worlds,), -1, dtype=torch.int64, device=device)
        self.posterior = torch.full((worlds, secrets), 1 / secrets, dtype=torch.float64, device=device)
        self.deviation = torch.zeros(worlds, dtype=torch.float64, device=device)
        self.acted = torch.zeros(worlds, dtype=torch.int64, device=device)
        self.changed = torch.zeros_like(self.acted)
        self.told = torch.zeros_like(self.deviation)

    def reset(self, worlds: Tensor) -> None:
        """New secrets in the given worlds ([W] indices), of which nothing is known."""
        known = self.posterior[worlds]
        self.told[worlds] = math.log2(known.shape[1]) + torch.special.xlogy(known, known).sum(1) / math.log(2)
        self.secret[worlds] = -1
        self.posterior[worlds] = 1 / self.posterior.shape[1]

    def draw(
        self, probability: Tensor, noise: Tensor | None, worlds: Tensor, step: Tensor
    ) -> tuple[Drawn, Tensor] | None:
        """Let the attack choose its node's actions, where its budget allows.

        Args:
            probability: [W, A] float64, the policy's distribution.
            noise: [W, A] Gumbel noise that the policy's action is drawn with; None where the team decides greedily.
            worlds: [W] int64 indices, where the node acts now.
            step: [B] int64.

        Returns:
            What was drawn in K of these worlds, and [K] which of the W they are; None where the attack leaves
            everything to the policy.
        """
        if self.base.noop_control:
            return None
        remaining = self.base.remaining(step)[worlds]
        kept = (remaining > 0).nonzero().squeeze(-1)
        if not len(kept):
            return None
        at, probability = worlds[kept], probability[kept]
        common = self.base.shown(step[at], remaining[kept])
        view = ActionView(**common, probability=probability.clone(), worlds=at.clone())
        distributions = self.base.ask(self.base.attack.on_action, view)
        if distributions is None:
            return None
        distributions, granted = self._judge(distributions, probability, at, greedy=noise is None)
        self.base.charge(at, granted.long())
        # One number per world whatever happens, so that other worlds' episodes do not change the draws.
        fresh = torch.randint(
            distributions.shape[1], self.secret.shape, generator=self.base.generator, device=distributions.device
        )
        self.secret = torch.where(self.secret < 0, fresh, self.secret)
        chosen = distributions[torch.arange(len(distributions), device=distributions.device), self.secret[at]].log()
        action = (chosen if noise is None else chosen + noise[kept]).argmax(-1)
        return Drawn(view, probability, at, distributions, action, granted), kept

    def _judge(self, distributions: Tensor, probability: Tensor, worlds: Tensor, greedy: bool) -> tuple[Tensor, Tensor]:
        """Its distributions, the policy's in place of invalid ones; and [W] bool, where they are in force."""
        base, actions = self.base, probability.shape[-1]
        shape = (len(worlds), self.posterior.shape[1], actions)
        check_tensor(base.attack.name, "action distributions", distributions, shape, torch.float64)
        valid = (distributions.isfinite() & (distributions >= 0)).all(-1) & (
            (distributions.sum(-1) - 1).abs() <= ROUNDING
        )
        granted = valid.all(-1)
        base.violate("act by what is no law", ~granted)
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

    def overrule(self, drawn: Drawn, would: Tensor) -> Tensor:
        """What is done [W]: what was drawn where that is in force, else what the policy ``would`` [W]."""
        done = torch.where(drawn.granted, drawn.action, would)
        self.changed[drawn.worlds] += done != would
        return done

    def settle(self, drawn: Drawn, action: Tensor, resample: float) -> None:
        """Take note of what was done in the end, and tell the attack.

        Args:
            drawn: What was drawn.
            action: [W] what the node did.
            resample: Chance that a warden has drawn the action again from the policy's distribution.
        """
        view, where = drawn.view, drawn.granted
        worlds, distributions, probability, done = (
            x[where] for x in (drawn.worlds, drawn.distributions, drawn.probability, action)
        )
        picked = done.view(-1, 1)
        told = distributions.gather(2, picked.unsqueeze(1).expand(-1, distributions.shape[1], -1)).squeeze(-1)
        posterior = self.posterior[worlds] * ((1 - resample) * told + resample * probability.gather(1, picked))
        self.posterior[worlds] = posterior / posterior.sum(-1, keepdim=True)
        shown = replace(
            view,
            probability=probability.clone(),
            worlds=worlds.clone(),
            step=view.step[where],
            remaining=view.remaining[where],
        )
        self.base.ask(lambda v: self.base.attack.after_action(v, distributions, done), shown)

    def _deviation(self, distributions: Tensor, probability: Tensor, worlds: Tensor) -> Tensor:
        """[W], largest difference between the distribution to an observer and the policy's."""
        seen = (self.posterior[worlds].unsqueeze(-1) * distributions).sum(1)
        return (seen - probability).abs().amax(-1)
