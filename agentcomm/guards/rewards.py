"""The guard of rewards: it limits changes of the rewards that agents learn from, in training only."""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.contracts.views import RewardView
from agentcomm.guards.base import GuardBase


class RewardGuard:
    """Holds an attack's hook ``on_rewards`` to its threat model.

    Args:
        base: The attack; its threat model has the power ``reward``.
    """

    def __init__(self, base: GuardBase) -> None:
        self.base = base

    def apply(self, reward: Tensor, action: Tensor, step: Tensor) -> Tensor:
        """Let the attack act on one step's rewards, and return the rewards [B, N] that agents learn from.

        Args:
            reward: [B, N], the rewards earned.
            action: [B, N] int64, the actions taken.
            step: [B] int64.
        """
        base, remaining = self.base, self.base.remaining(step)
        view = RewardView(**base.shown(step, remaining), reward=reward.clone(), action=action.clone())
        answer = base.ask("on_rewards", view)
        if answer is None:
            return reward
        wanted = base.take_tensor("what on_rewards returns", answer, tuple(reward.shape), reward.dtype)
        base.require_finite("what on_rewards returns", wanted)
        change = wanted - reward
        most = base.threat.budget.reward
        if most is not None:
            base.violate("reward beyond its bound", change.abs() > most * (1 + 1e-5))
            change = change.clamp(-most, most)
        granted = base.spend(change != 0, remaining)
        base.spending.change(change.abs(), granted)
        if base.run_as == "control":  # as large a change, with a random sign
            flipped = torch.rand(change.shape, generator=base.chance, device=change.device) < 0.5
            change = torch.where(flipped, -change, change)
        return torch.where(granted, reward + change, reward)
