"""The state that the guards of all hooks share: one attack, its threat model, its memory and its spending."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from agentcomm.base.state import Memory, State
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.views import HookView
from agentcomm.guards.sandbox import AttackSandbox

UNLIMITED = 2**40
WHITE_BOX = ("policy", "defense")  # kinds of knowledge that include the policy
V = TypeVar("V", bound=HookView)
R = TypeVar("R")


class GuardBase(State):
    """Holds one attack to its budget, over all of its hooks.

    Args:
        attack: The attack.
        shape: Shape of the team that it attacks.
        seed: Seed of the attack's generator.

    Attributes:
        threat: The attack's threat model.
        identity: Its node, or N for an outsider.
        noop_control: Whether it runs as its own no-op control.
        violations: Number of violations of the threat model, by rule.
        memory: Its own tensors [B, ...].
        spent: [B] int64, cost of its edits in each world's running episode.
        total: [B] int64, cost of its edits over all episodes.

    Raises:
        ValueError: If the attack does not fit the team.
    """

    keeps = ("memory", "spent", "spent_step", "clock", "total", "generator", "violations")

    def __init__(self, attack: Attack, shape: TeamShape, seed: int) -> None:
        self.attack, self.shape = attack, shape
        self.threat = attack.threat_model()
        self.noop_control = attack.config.noop_control
        node, agents = self.threat.position.node, shape.num_agents
        if node is not None and node >= agents:
            raise ValueError(f"position node needs an agent in 0 .. {agents - 1}, not {node}")
        self.identity = agents if node is None else node
        self.generator = torch.Generator(shape.device).manual_seed(seed)
        self.violations: Counter[str] = Counter()
        self.sandbox = AttackSandbox(attack, self.violations)
        self.memory = Memory(attack.memory)
        self.spent = torch.zeros(shape.num_worlds, dtype=torch.int64, device=shape.device)
        self.spent_step = torch.zeros_like(self.spent)
        self.total = torch.zeros_like(self.spent)
        self.clock = torch.full_like(self.spent, -1)  # the step that spent_step is about

    def reset(self, worlds: Tensor) -> None:
        """Forget the episodes of the given worlds ([W] indices)."""
        self.spent[worlds] = 0
        self.clock[worlds] = -1
        self.memory.reset(worlds)

    def remaining(self, step: Tensor) -> Tensor:
        """[B] int64, budget left at these steps [B]."""
        self.spent_step = self.spent_step.masked_fill(step != self.clock, 0)
        self.clock = step.clone()
        budget = self.threat.budget
        left = torch.full_like(self.spent, UNLIMITED)
        if budget.per_episode is not None:
            left = budget.per_episode - self.spent
        if budget.per_step is not None:
            left = torch.minimum(left, budget.per_step - self.spent_step)
        return torch.where(step >= budget.start_step, left, 0)

    def spend(self, wanted: Tensor, remaining: Tensor) -> Tensor:
        """Charge for the wanted edits [B, X] in order, and return those that the budget covers [B, X] bool."""
        granted = wanted & (wanted.cumsum(1) <= remaining.unsqueeze(1))
        self.violate("beyond the budget", wanted & ~granted)
        self.charge(slice(None), granted.sum(1))
        return granted

    def charge(self, worlds: Tensor | slice, cost: Tensor) -> None:
        """Add a cost to the accounts of the given worlds."""
        for account in (self.spent, self.spent_step, self.total):
            account[worlds] += cost

    def violate(self, rule: str, where: Tensor) -> None:
        """Count violations of a rule."""
        self.sandbox.violate(rule, where)

    def shown(self, step: Tensor, remaining: Tensor) -> dict[str, Any]:
        """The fields that all views have."""
        return {
            "attack": self.attack.name,
            "threat": self.threat,
            "step": step.clone(),
            "remaining": remaining.clone(),
            "memory": dict(self.memory.tensors),
            "generator": self.generator,
        }

    def ask(self, hook: Callable[[V], R], view: V) -> R:
        """Call a hook with a view in the sandbox and return its answer.

        Raises:
            ValueError: If the hook replaces tensors of its memory.
        """
        with self.sandbox.watched():
            answer = hook(view)
        self.sandbox.check_memory(view.memory, self.memory.tensors)
        return answer
