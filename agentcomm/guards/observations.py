"""The guard of observations: it lets attacked sensors show only what they could show without an attack.

It acts before a team decides. Rollouts record the attacked observations, so that updates see the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from agentcomm.contracts.threat_model import WHITE_BOX
from agentcomm.contracts.views import ObservationView
from agentcomm.contracts.world import World
from agentcomm.guards.base import GuardBase
from agentcomm.guards.matched import direction, readings


class ObservationGuard:
    """Holds an attack's hook ``on_observations`` to its threat model.

    Args:
        base: The attack; its position is ``sensor``.
    """

    def __init__(self, base: GuardBase) -> None:
        self.base = base

    def apply(
        self, observation: Tensor, world: World, step: Tensor, gate_logits: Callable[[Tensor], Tensor] | None
    ) -> Tensor:
        """Let the attack act on sensors once, and return the agents' observations [B, N, O].

        Args:
            observation: [B, N, O], the observations without the attack.
            world: Defines what sensors can show, and which members are present.
            step: [B] int64.
            gate_logits: Maps observations [..., B, N, O] to gate logits [..., B, N]; None without gates.
        """
        base, remaining = self.base, self.base.remaining(step)
        reach, possible = self._reach(world), world.readings()
        read = reach.unsqueeze(-1) if "read" in base.threat.powers else torch.zeros_like(reach).unsqueeze(-1)
        seen = torch.where(read, observation, 0 if possible is None else -1)
        granted: dict[str, Any] = {} if possible is None else {"readings": possible.clone()}
        if base.threat.knowledge in WHITE_BOX and gate_logits is not None:
            granted["gate_logits"] = gate_logits
        common = base.shown(step, remaining)
        view = ObservationView(**common, reach=reach.clone(), observation=seen.clone(), granted=granted)
        answer = base.ask("on_observations", view)
        if answer is None:
            return observation
        shape = tuple(observation.shape)
        wanted = base.take_tensor("what on_observations returns", answer, shape, observation.dtype)
        changed, shown = self._possible(wanted, seen, reach, possible, observation, world)
        if "modify" not in base.threat.powers:
            base.violate("modify without the power to", changed)
            return observation
        paid = base.spend(changed.flatten(1), remaining).view_as(changed)
        if not bool(paid.any()):
            return observation
        if base.run_as == "control":
            paid, shown = self._control(paid, shown, possible, observation, world)
        if possible is None:
            base.spending.change((shown - observation).norm(dim=-1), paid.squeeze(-1))
        return torch.where(paid, shown, observation)

    def _control(
        self, paid: Tensor, shown: Tensor, possible: Tensor | None, observation: Tensor, world: World
    ) -> tuple[Tensor, Tensor]:
        """The entries that the matched control changes, and what it shows there; as :meth:`_possible` returns them."""
        if possible is not None:
            return readings(paid, observation, possible, self.base.chance)
        layout, bound = world.layout, self.base.threat.budget.norm
        low, high = layout.low - observation, layout.high - observation
        if bound is not None:
            low, high = low.clamp_min(-bound), high.clamp_max(bound)
        change = direction(shown - observation, self.base.chance, low.clamp_max(0.0), high.clamp_min(0.0))
        return paid, observation + change

    def _reach(self, world: World) -> Tensor:
        """[B, N] bool, members whose sensors it controls, if they are present."""
        if self.base.threat.position.node is None:
            return world.alive.clone()
        return world.alive & (torch.arange(world.num_agents, device=world.device) == self.base.identity)

    def _possible(
        self,
        wanted: Tensor,
        seen: Tensor,
        reach: Tensor,
        possible: Tensor | None,
        observation: Tensor,
        world: World,
    ) -> tuple[Tensor, Tensor]:
        """Restrict the ``wanted`` observations of an attack to what the sensors in its reach could show.

        Returns:
            The changes, bool [B, N, O] for indices or [B, N, 1] for vectors of numbers, each of which costs 1; and the
            observations to show [B, N, O].
        """
        base, reach = self.base, reach.unsqueeze(-1)
        # Out of reach, where the attack saw a placeholder, a value counts as changed if it differs from that.
        changed = torch.where(reach, wanted != observation, wanted != seen)
        base.violate("modify out of reach", changed & ~reach)
        changed &= reach
        if possible is None:
            base.require_finite("what on_observations returns", wanted, reach)
            norm, change = base.threat.budget.norm, (wanted - observation).masked_fill(~reach, 0.0)
            if norm is not None:
                base.violate("modify beyond the norm", (change.abs() > norm * (1 + 1e-5) + 1e-6).any(-1))
                change = change.clamp(-norm, norm)
            shown = (observation + change).clamp(world.layout.low, world.layout.high)
            return changed.any(-1, keepdim=True), shown
        known = (wanted >= -1) & (wanted < world.layout.vocabulary)
        index = wanted.clamp(-1, world.layout.vocabulary - 1).unsqueeze(-1) + 1
        known &= possible.expand(len(wanted), -1, -1, -1).gather(3, index).squeeze(-1)
        base.violate("show what no sensor could", changed & ~known)
        return changed & known, wanted
