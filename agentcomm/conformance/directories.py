"""Conformance check of attacks on a directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from agentcomm.conformance.common import require
from agentcomm.conformance.hooks import NO_BUDGETS, check_obeys
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.directory_defense import Answer
from agentcomm.contracts.shape import TeamShape
from agentcomm.directory.config import DirectoryConfig
from agentcomm.directory.hub import Directory
from agentcomm.directory.screens import DirectoryScreens
from agentcomm.guards.directory import DirectoryGuard
from agentcomm.step.adversary import Adversary

WORLDS, MEMBERS, SKILLS, LOOKUPS, STEPS = 6, 5, 3, 4, 14


class Market:
    """Random look-ups in a directory, with tasks routed to listed cards and outcomes reported."""

    def __init__(self, seed: int = 0) -> None:
        device = torch.device("cpu")
        self.directory = Directory(DirectoryConfig(slots=9, newcomers=6), WORLDS, MEMBERS, SKILLS, device)
        self.generator = torch.Generator().manual_seed(seed)
        self.step = torch.zeros(WORLDS, dtype=torch.int64)
        self.ended = torch.zeros(WORLDS, dtype=torch.bool)
        self._begin(torch.arange(WORLDS))

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator)

    def _begin(self, worlds: Tensor) -> None:
        self.directory.begin(worlds, self._rand(len(worlds), MEMBERS, SKILLS))
        self.step[worlds] = 0

    def install(self, guards: Sequence[DirectoryGuard], screens: DirectoryScreens | None) -> None:
        """Let these attacks and defenses act, from the first step of new episodes on."""
        self.directory.install(guards, screens)
        self._begin(torch.arange(WORLDS))

    def resume(self, other: Market) -> None:
        """Take over the state of another market."""
        self.directory.state |= {name: value.clone() for name, value in other.directory.state.items()}
        self.generator.set_state(other.generator.get_state())
        self.step, self.ended = other.step.clone(), other.ended.clone()

    def turn(self) -> Answer:
        """Run one step, after starting new episodes in worlds that ended in the last one."""
        self._begin(self.ended.nonzero().squeeze(1))
        need = torch.randint(SKILLS, (WORLDS, LOOKUPS), generator=self.generator)
        answer = self.directory.turn(
            requirement=torch.nn.functional.one_hot(need, SKILLS).float(),
            wanted=(wanted := self._rand(WORLDS, LOOKUPS) < 0.8),
            excluded=self._rand(WORLDS, LOOKUPS, self.directory.principals) < 0.1,
            own=wanted,
            renew=self._rand(WORLDS, MEMBERS) < 0.1,
            claim=self._rand(WORLDS, MEMBERS, SKILLS),
            step=self.step.clone(),
            generator=self.generator,
        )
        slot = answer.slot[..., 0]
        holder = self.directory.route(slot)
        cards = self.directory.cards
        quality, scapegoat = (v.gather(1, slot.clamp_min(0)) for v in (cards.quality, cards.scapegoat))
        outside = holder == MEMBERS
        good = self._rand(WORLDS, LOOKUPS) < torch.where(outside, quality, 0.5)
        written = torch.where(outside & ~good, scapegoat, -1)
        name = self.directory.read_traces(answer.principal[..., 0], written)
        self.directory.report(name, good, ~good, holder)
        self.step += 1
        self.ended = (self._rand(WORLDS) < 0.1) | (self.step >= 8)
        return answer


def check_directory(attack: type[Attack], config: AttackConfig, quick: bool = False) -> None:
    """Check the hook ``on_directory`` on random look-ups.

    The attack respects its threat model and budget, has an effect, can be saved and restored, spends as much as its own
    control, and has no effect without a budget.

    Args:
        attack: The attack's class.
        config: Its arguments.
        quick: Whether to check only its threat model, its effect, and that it does nothing without a budget.

    Raises:
        AssertionError: If it breaks the contract.
    """
    shape = TeamShape(WORLDS, MEMBERS, 1, 4, 1, torch.device("cpu"))

    def market(**changes: Any) -> tuple[Market, Adversary]:
        out = Market()
        made = attack(config.model_copy(update=changes), shape)
        adversary = Adversary([made], shape, 1, out.directory.shape)
        out.directory.install(adversary.directory_guards)
        return out, adversary

    attacked, adversary = market()
    first, guard = [attacked.turn() for _ in range(STEPS)], adversary.guards[0]
    check_obeys(guard)
    require(guard.spent.any(), f"it had no effect in {STEPS} steps")
    if not quick:
        _check_restored(market, first, adversary)
    plain = Market()
    clean = [plain.turn() for _ in range(STEPS)]
    for budget in NO_BUDGETS[:1] if quick else NO_BUDGETS:
        idle = market(budget=budget)[0]
        same = all(same_answer(a, idle.turn()) for a in clean)
        require(same, f"it acts without a budget: threat_model ignores {budget!r}")


def _check_restored(market: Callable[..., tuple[Market, Adversary]], first: list[Answer], adversary: Adversary) -> None:
    """Runs can be repeated and restored, and the control spends what the attack spends in a first step."""
    guard = adversary.guards[0]
    again = market()[0]
    require(all(same_answer(a, again.turn()) for a in first), "two runs of the same seed differ")
    twin = market()[1]
    twin.restore(adversary.snapshot())
    kept = twin.guards[0].memory.tensors
    require(all(torch.equal(kept[n], v) for n, v in guard.memory.tensors.items()), "its memory is not restored")
    control, matched = market(run_as="control")
    control.turn()
    check_obeys(matched.guards[0])
    attacked, whole = market()
    attacked.turn()
    same = torch.equal(matched.guards[0].spent, whole.guards[0].spent)
    require(same, "its control makes another number of edits than it does")


def same_answer(first: Answer, second: Answer) -> bool:
    """Whether two answers are equal, bit for bit."""
    return all(torch.equal(getattr(first, f.name), getattr(second, f.name)) for f in fields(Answer))
