"""The state that the guards of all hooks share: one attack, its threat model, its memory and its spending."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

import torch
from pydantic import ValidationError
from torch import Tensor

from agentcomm.base.calling import calling
from agentcomm.base.errors import HookError, NumberError
from agentcomm.base.seeds import derive
from agentcomm.base.state import Memory, State
from agentcomm.contracts.attack import Attack, Hook
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Budget, Position, Power, ThreatModel
from agentcomm.contracts.views import HookView
from agentcomm.guards.returned import Form, named, take, take_tensor
from agentcomm.guards.side_effects import SideEffects
from agentcomm.guards.spending import Spending

UNLIMITED = 2**40
T = TypeVar("T")


class GuardBase(State):
    """Holds what one attack returns to its threat model and budget, over all of its hooks.

    Guards judge copies of what the attack declared and returns, and draw from a generator that it is not shown. They do
    not confine its code: see :mod:`agentcomm.guards.side_effects`.

    Args:
        attack: The attack.
        shape: Shape of the team that it attacks.
        seed: Seed of the attack's generator.
        secret: Seed of the guard's own draws, which the attack should not be able to compute; None for one that follows
            from ``seed``.

    Attributes:
        threat: A copy of the threat model that the attack declared when it was built.
        identity: Its node, or N for an outsider.
        run_as: Whether it runs as itself, as its matched control, or with the messages it touches dropped.
        violations: Number of violations of the threat model, by rule.
        memory: Its own tensors [B, ...].
        generator: The attack's random generator.
        own: The guard's random generator.
        chance: The generator of its matched control (:mod:`agentcomm.guards.matched`).
        spending: What it spends per episode.
        spent: [B] int64, cost of its edits in each world's running episode.
        total: [B] int64, cost of its edits over all episodes.
        injections: Messages that it may inject per receiver and exchange.

    Raises:
        ValueError: If the attack does not fit the team, or declares something of a wrong type.
    """

    keeps = ("memory", "spent", "spent_step", "clock", "total", "generator", "own", "chance", "spending", "violations")

    def __init__(self, attack: Attack, shape: TeamShape, seed: int, secret: int | None = None) -> None:
        self.attack, self.shape = attack, shape
        self.who = f"attack {attack.name!r}"
        self._claimed = attack.threat_model()
        self.threat = _own_copy(self.who, self._claimed)
        self._shown = copy.deepcopy(self.threat)  # views hold this one, so that an attack cannot change the guard's
        self.run_as = attack.config.run_as
        node, agents = self.threat.position.node, shape.num_agents
        if node is not None and node >= agents:
            raise ValueError(f"position node needs an agent in 0 .. {agents - 1}, not {node}")
        self.identity = agents if node is None else node
        self.generator = torch.Generator(shape.device).manual_seed(seed)
        secret = seed if secret is None else secret
        self.own = torch.Generator(shape.device).manual_seed(derive(secret, "guard"))
        self.chance = torch.Generator(shape.device).manual_seed(derive(secret, "control"))
        self.spending = Spending(shape.num_worlds, shape.device)
        self.violations: Counter[str] = Counter()
        self.injections = self.announced("injections")
        self.memory = Memory(self._first_memory)
        self.effects = SideEffects(attack, self.violations)
        self.spent = torch.zeros(shape.num_worlds, dtype=torch.int64, device=shape.device)
        self.spent_step = torch.zeros_like(self.spent)
        self.total = torch.zeros_like(self.spent)
        self.clock = torch.full_like(self.spent, -1)  # the step that spent_step is about

    def announced(self, name: str) -> int:
        """A number that the attack announces, such as ``injections``; guards read it once.

        Raises:
            ValueError: If it is no whole number of at least 0.
        """
        number = getattr(self.attack, name)()
        if type(number) is not int or number < 0:
            raise ValueError(f"{self.who}: {name}() must return a whole number of at least 0, not {number!r}")
        return number

    def _first_memory(self) -> dict[str, Tensor]:
        """Copies of its initial tensors."""
        memory, worlds = self.attack.memory(), self.shape.num_worlds
        if type(memory) is not dict:
            raise ValueError(f"{self.who}: memory() must return a dict of tensors, not {type(memory).__name__}")
        for name, value in memory.items():
            if type(value) is not Tensor or value.shape[:1] != (worlds,):
                found = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(
                    f"{self.who}: memory {name!r} must be a plain tensor [{worlds}, ...], a row per world, not {found}"
                )
        return {str(name): torch.clone(value).detach().contiguous() for name, value in memory.items()}

    def reset(self, worlds: Tensor) -> None:
        """Forget the episodes of the given worlds ([W] indices)."""
        self.spending.close(worlds, self.clock[worlds] >= 0)
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
        self.spending.edit(worlds, cost)

    def violate(self, rule: str, where: Tensor) -> None:
        """Count violations of a rule."""
        self.effects.violate(rule, where)

    def require_finite(
        self, what: str, value: Tensor, wanted: Tensor | None = None, worlds: Tensor | None = None
    ) -> None:
        """Reject numbers that are not finite.

        Args:
            what: What the attack returned, such as ``edits.change``.
            value: [W, ...], the numbers.
            wanted: Bool, broadcast against ``value``: the numbers that it wants to have an effect; None for all.
            worlds: [W] int64, indices of their worlds; None for all B worlds.

        Raises:
            NumberError: If one of these is not finite; names the attack, world and step.
        """
        if bool(value.isfinite().all()):
            return
        bad = ~value.isfinite() if wanted is None else ~value.isfinite() & wanted
        if bool(bad.any()):
            row, place = (int(x) for x in bad.flatten(1).nonzero()[0])
            found = float(value.flatten(1)[row, place])
            world = row if worlds is None else int(worlds[row])
            raise NumberError(
                f"{self.who}: {what} is {found} in world {world} at step {int(self.clock[world])}:"
                f" return finite numbers"
            )

    def shown(self, step: Tensor, remaining: Tensor) -> dict[str, Any]:
        """The fields that all views have."""
        return {
            "attack": self.attack.name,
            "threat": self._shown,
            "step": step.clone(),
            "remaining": remaining.clone(),
            "memory": dict(self.memory.tensors),
            "generator": self.generator,
        }

    def ask(self, hook: Hook | str, view: HookView, *more: Tensor) -> Any:
        """Call a hook, undo its side effects, and return its answer as it is: take a copy before you judge it.

        Args:
            hook: Name of the attack's method.
            view: The view to show.
            more: Further arguments.

        Raises:
            HookError: If the hook raises an error, or replaces or resizes tensors of its memory.
            ThreatModelError: If it reads what its threat model does not grant.
        """
        with self.effects.watched(), calling(self.who, hook):
            answer = getattr(self.attack, hook)(view, *more)
        self._check_memory(hook, view.memory)
        if self._claimed != self.threat or self._shown != self.threat:
            self.violations["changes its threat model"] += 1
            self._shown = copy.deepcopy(self.threat)
        return answer

    def take(self, hook: Hook, answer: object, kind: type[T], forms: Mapping[str, Form]) -> T:
        """A copy of edits that a hook returned; see :func:`agentcomm.guards.returned.take`."""
        if type(answer) is not kind:
            raise HookError(f"{self.who}: {hook} must return {kind.__name__}, not {named(answer)}")
        return take(self.who, "edits", answer, kind, forms, self.spent.device)

    def take_tensor(self, what: str, answer: object, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A copy of a tensor that a hook returned; see :func:`agentcomm.guards.returned.take_tensor`."""
        return take_tensor(self.who, what, answer, shape, dtype, self.spent.device)

    def succeeded(self, attacked: Episodes, clean: Episodes) -> Tensor:
        """[B] bool, the attack's success predicate, on copies of the episodes.

        Args:
            attacked: Episodes under the attack.
            clean: The same episodes without it.

        Raises:
            HookError: If the predicate raises an error, or returns something of a wrong type or shape.
        """
        with self.effects.watched(), calling(self.who, "succeeded"):
            answer = self.attack.succeeded(copy.deepcopy(attacked), copy.deepcopy(clean))
        return self.take_tensor("what succeeded returns", answer, tuple(clean.success.shape), torch.bool)

    def predicate(self) -> str | None:
        """What counts as success in an episode; None for a worse score than under the matched control.

        Raises:
            HookError: If its method raises an error, or returns something else.
        """
        with self.effects.watched(), calling(self.who, "predicate"):
            answer = self.attack.predicate()
        if answer is not None and type(answer) is not str:
            raise HookError(f"{self.who}: predicate must return text or None, not {named(answer)}")
        return answer

    def assumes(self, deployment: Deployment) -> dict[str, float | bool | str]:
        """What the attack's effect presupposes of its victims.

        Raises:
            HookError: If its method raises an error, or returns something else.
        """
        with self.effects.watched(), calling(self.who, "assumes"):
            answer = self.attack.assumes(deployment)
        if type(answer) is not dict or not all(isinstance(value, int | float | str) for value in answer.values()):
            raise HookError(f"{self.who}: assumes must return a dict of numbers, flags or text, not {answer!r}")
        return {str(name): value for name, value in answer.items()}

    def _check_memory(self, hook: str, shown: dict[str, Tensor]) -> None:
        """Reject memory whose tensors were replaced or resized: they could outlive episodes or cross worlds."""
        tensors = self.memory.tensors
        if shown.keys() != tensors.keys() or any(shown[name] is not value for name, value in tensors.items()):
            raise HookError(f"{self.who}: {hook} must change the tensors of view.memory in place")
        if not self.memory.sound():
            raise HookError(f"{self.who}: {hook} must not resize the tensors of view.memory")


def _own_copy(who: str, claimed: ThreatModel) -> ThreatModel:
    """A copy of a threat model that shares nothing with it.

    Raises:
        ValueError: If a part has a wrong type.
    """
    for what, value, kind in (
        ("threat_model()", claimed, ThreatModel),
        ("position", getattr(claimed, "position", None), Position),
        ("budget", getattr(claimed, "budget", None), Budget),
    ):
        if type(value) is not kind:
            raise ValueError(f"{who}: {what} must be a {kind.__name__}, not {type(value).__name__}")
    powers = frozenset(str(power) for power in claimed.powers)
    if unknown := powers - set(get_args(Power)):
        raise ValueError(f"{who}: unknown powers {sorted(unknown)}; known: {', '.join(get_args(Power))}")
    try:
        position = Position.model_validate(claimed.position.model_dump())
        budget = Budget.model_validate(claimed.budget.model_dump())
    except ValidationError as error:
        raise ValueError(
            f"{who}: threat_model() has an invalid {error.title.lower()}: {error.errors()[0]['msg']}"
        ) from None
    return ThreatModel(position, powers, str(claimed.knowledge), budget, str(claimed.objective))  # type: ignore[arg-type]
