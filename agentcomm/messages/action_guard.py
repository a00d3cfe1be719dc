"""Holds an attack that acts (power ``act``) to its own node, and to the law of action that it claims to keep.

The attack never acts itself. It says by which law its node would act if it had to tell each of M secrets; the guard
knows the secret and draws. So it can compute what an observer sees who knows everything but the secret: the mean
of those laws, weighed by what the actions so far say about the secret. How far that is from the policy's law is
recorded, and bounded by the budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agentcomm.messages.conduct import Conduct
from agentcomm.threats import ActionView, Attack, Budget, Setting

ROUNDING = 1e-9  # by which the numbers of a law may miss 1 in sum


@dataclass(frozen=True)
class Drawn:
    """Actions [W] that were drawn from an attack's laws [W, M, A], and what it was shown."""

    view: ActionView
    law: Tensor
    action: Tensor


class ActionGuard:
    """One attack's hold on its node's actions.

    Args:
        attack: The attack; its threat model has the power ``act``.
        setting: Sizes of the team.
        generator: The attack's own randomness.
        memory: The attack's own memory.
        conduct: Watches it.

    Attributes:
        node: The agent whose actions it chooses.
        secret: [B] int64, what its actions tell of in this episode; -1 before the first.
        posterior: [B, M] float64, what an observer believes of the secret that knows the policy, its input and the
            attack, and has seen all actions of the episode.
        deviation: [B] float64, largest difference so far between an action's probability to that observer and
            under the policy.
        acted: [B] int64, actions drawn from the attack's laws so far.
        changed: [B] int64, those of them that differ from what the policy would have done.
        told: [B] float64, bits by which the actions of each world's last whole episode told its secret.
    """

    def __init__(
        self,
        attack: Attack,
        setting: Setting,
        generator: torch.Generator,
        memory: dict[str, Tensor],
        conduct: Conduct,
    ) -> None:
        threat = attack.threat_model()
        assert threat.position.node is not None
        self.attack, self.node = attack, threat.position.node
        self.budget: Budget = threat.budget
        self.generator, self.memory, self.conduct = generator, memory, conduct
        worlds, secrets, device = setting.num_worlds, attack.secrets(), setting.device
        if secrets < 1:
            raise ValueError(f"secrets must be 1 at least, not {secrets}")
        self.secret = torch.full((worlds,), -1, dtype=torch.int64, device=device)
        self.posterior = torch.full((worlds, secrets), 1 / secrets, dtype=torch.float64, device=device)
        self.deviation = torch.zeros(worlds, dtype=torch.float64, device=device)
        self.acted = torch.zeros(worlds, dtype=torch.int64, device=device)
        self.changed = torch.zeros_like(self.acted)
        self.told = torch.zeros_like(self.deviation)

    def reset(self, worlds: Tensor) -> None:
        """New secrets in the given worlds ([W] indices), of which nobody knows anything."""
        known = self.posterior[worlds]
        self.told[worlds] = math.log2(known.shape[1]) + torch.special.xlogy(known, known).sum(1) / math.log(2)
        self.secret[worlds] = -1
        self.posterior[worlds] = 1 / self.posterior.shape[1]

    def draw(self, view: ActionView, noise: Tensor | None) -> tuple[Drawn, Tensor] | None:
        """Let the attack say how its node acts.

        Args:
            view: What it is shown.
            noise: [W, A] Gumbel noise the policy's action is drawn with; None where the team decides greedily.

        Returns:
            What was drawn, and [W] bool where it holds; None where the attack leaves everything to the policy.
        """
        places = dict(self.memory)
        with self.conduct.watched():
            law = self.attack.act(view)
        name = type(self.attack).__name__
        self.conduct.check_memory(view.memory, places)
        if law is None:
            return None
        secrets = self.posterior.shape[1]
        shape = (len(view.worlds), secrets, view.probability.shape[-1])
        if law.shape != shape or law.dtype != torch.float64:
            raise ValueError(f"{name}: laws must be torch.float64 {shape}, not {law.dtype} {tuple(law.shape)}")
        valid = (law.isfinite() & (law >= 0)).all(-1) & ((law.sum(-1) - 1).abs() <= ROUNDING)
        granted = valid.all(-1)
        self.conduct.violate("act by what is no law", ~granted)
        law = torch.where(granted.view(-1, 1, 1), law, view.probability.unsqueeze(1))
        if noise is None:
            law = nn.functional.one_hot(law.argmax(-1), shape[-1]).to(law.dtype)
        off = self._deviation(view, law)
        if self.budget.deviation is not None:
            too_far = granted & (off > self.budget.deviation)
            self.conduct.violate("act beyond the deviation", too_far)
            granted = granted & ~too_far
        self.deviation[view.worlds] = self.deviation[view.worlds].maximum(off.masked_fill(~granted, 0.0))
        self.acted[view.worlds] += granted
        # One number per world whatever happens, so that other worlds' episodes do not change the draws.
        fresh = torch.randint(secrets, self.secret.shape, generator=self.generator, device=law.device)
        self.secret = torch.where(self.secret < 0, fresh, self.secret)
        chosen = law[torch.arange(len(law), device=law.device), self.secret[view.worlds]].log()
        action = (chosen if noise is None else chosen + noise).argmax(-1)
        return Drawn(view, law, action), granted

    def overrule(self, drawn: Drawn, would: Tensor, where: Tensor) -> Tensor:
        """What is done [W]: what was drawn where that holds, else what the policy ``would`` [W]."""
        done = torch.where(where, drawn.action, would)
        self.changed[drawn.view.worlds] += done != would
        return done

    def settle(self, drawn: Drawn, action: Tensor, where: Tensor, redraw: float) -> None:
        """Hear what was done in the end.

        Args:
            drawn: What was drawn.
            action: [W] what the node did.
            where: [W] bool, where the attack's laws were in force.
            redraw: Chance that a warden has drawn the action anew from the policy's law.
        """
        worlds, law, view = drawn.view.worlds[where], drawn.law[where], drawn.view
        picked = action[where].view(-1, 1)
        told = law.gather(2, picked.unsqueeze(1).expand(-1, law.shape[1], -1)).squeeze(-1)
        posterior = self.posterior[worlds] * ((1 - redraw) * told + redraw * view.probability[where].gather(1, picked))
        self.posterior[worlds] = posterior / posterior.sum(-1, keepdim=True)
        shown = ActionView(
            view.probability[where],
            worlds,
            view.step[where],
            view.remaining[where],
            view.memory,
            view.generator,
        )
        with self.conduct.watched():
            self.attack.acted(shown, law, action[where])

    def _deviation(self, view: ActionView, law: Tensor) -> Tensor:
        """[W], by how much the law of an observer differs from the policy's at most."""
        seen = (self.posterior[view.worlds].unsqueeze(-1) * law).sum(1)
        return (seen - view.probability).abs().amax(-1)

    def get_state(self) -> dict[str, Any]:
        """Secrets, what is known of them, and what was recorded, as numpy arrays."""
        names = ("secret", "posterior", "deviation", "acted", "changed", "told")
        return {name: getattr(self, name).cpu().numpy().copy() for name in names}

    def set_state(self, saved: dict[str, Any]) -> None:
        """Restore what :meth:`get_state` saved."""
        for name, value in saved.items():
            setattr(self, name, torch.as_tensor(np.array(value), device=self.secret.device))
