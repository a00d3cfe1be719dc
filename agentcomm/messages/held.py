"""What every guard does, whatever its attack acts on: watch it, charge it, count violations, keep its memory."""

from __future__ import annotations

from collections import Counter
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from agentcomm.messages.conduct import Conduct
from agentcomm.threats import Attack

UNLIMITED = 2**40
A = TypeVar("A", bound=Attack)


class Held(Generic[A]):
    """An attack held to its budget.

    Args:
        attack: The attack.
        num_worlds: B.
        device: Of all tensors.
        seed: Seed of the attack's generator.

    Attributes:
        violations: How often it asked for more than it may, by rule.
        spent: [B] int64, what it did in each world's episode.
        memory: Its own tensors [B, ...].
    """

    def __init__(self, attack: A, num_worlds: int, device: torch.device, seed: int) -> None:
        self.attack = attack
        self.device = device
        self.threat = attack.threat_model()
        self.harmless = attack.config.harmless
        self.generator = torch.Generator(device).manual_seed(seed)
        self.violations: Counter[str] = Counter()
        self.conduct = Conduct(attack, self.violations)
        self.spent = torch.zeros(num_worlds, dtype=torch.int64, device=device)
        self.spent_step = torch.zeros_like(self.spent)
        self.memory = attack.memory()
        self._fresh = {name: value.clone() for name, value in self.memory.items()}

    def reset(self, worlds: Tensor) -> None:
        """Forget everything about the given worlds ([W] indices)."""
        self.spent[worlds] = 0
        for name, fresh in self._fresh.items():
            self.memory[name][worlds] = fresh[worlds]

    def remaining(self, step: Tensor) -> Tensor:
        """[B] int64, what the budget allows yet at these steps [B]."""
        budget = self.threat.budget
        left = torch.full_like(self.spent, UNLIMITED)
        if budget.per_episode is not None:
            left = budget.per_episode - self.spent
        if budget.per_step is not None:
            left = torch.minimum(left, budget.per_step - self.spent_step)
        return torch.where(step >= budget.start_step, left, 0)

    def spend(self, wanted: Tensor, remaining: Tensor) -> Tensor:
        """[B, X] bool, what of the wanted [B, X] is paid for, from the first on."""
        granted = wanted & (wanted.cumsum(1) <= remaining.unsqueeze(1))
        self.violate("beyond the budget", wanted & ~granted)
        used = granted.sum(1)
        self.spent += used
        self.spent_step += used
        return granted

    def violate(self, rule: str, where: Tensor) -> None:
        """Count what was asked for against a rule."""
        self.conduct.violate(rule, where)

    def get_state(self) -> dict[str, Any]:
        """Memory, spending and the generator, as numpy arrays."""
        return {
            "memory": {name: value.cpu().numpy().copy() for name, value in self.memory.items()},
            "spent": self.spent.cpu().numpy().copy(),
            "spent_step": self.spent_step.cpu().numpy().copy(),
            "generator": self.generator.get_state().numpy().copy(),
            "violations": dict(self.violations),
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Restore what :meth:`get_state` saved."""
        for name, value in saved["memory"].items():
            self.memory[name].copy_(self.load(value))
        self.spent, self.spent_step = self.load(saved["spent"]), self.load(saved["spent_step"])
        self.generator.set_state(torch.as_tensor(np.array(saved["generator"])))
        self.violations.clear()  # the same counter: others count in it
        self.violations.update(saved["violations"])

    def load(self, array: Any) -> Tensor:
        """A saved array as a tensor of its own."""
        return torch.as_tensor(np.array(array), device=self.device)
