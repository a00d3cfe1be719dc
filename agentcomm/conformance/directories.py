"""Do attacks on a directory keep their contract?"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from agentcomm.conformance.common import check_memory, check_plugin, check_threat, require
from agentcomm.directory import Answer, Directory, DirectoryAttack, DirectoryAttackConfig, DirectoryConfig
from agentcomm.threats import Budget, Setting

WORLDS, MEMBERS, SKILLS, LOOKUPS, STEPS = 6, 5, 3, 4, 14


class _Market:
    """Random look-ups in a directory whose listed cards are asked and report outcomes; episodes end at random."""

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

    def turn(self) -> Answer:
        """One step, after the worlds that ended in the last one begin anew."""
        self._begin(self.ended.nonzero().squeeze(1))
        need = torch.randint(SKILLS, (WORLDS, LOOKUPS), generator=self.generator)
        answer = self.directory.turn(
            requirement=torch.nn.functional.one_hot(need, SKILLS).float(),
            wanted=self._rand(WORLDS, LOOKUPS) < 0.8,
            excluded=self._rand(WORLDS, LOOKUPS, self.directory.principals) < 0.1,
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
        name = torch.where(outside & ~good & (scapegoat >= 0), scapegoat, answer.principal[..., 0])
        self.directory.report(name, good, ~good, holder)
        self.step += 1
        self.ended = (self._rand(WORLDS) < 0.1) | (self.step >= 8)
        return answer


def check_directory_attack(attack: type[DirectoryAttack], arguments: dict[str, Any] | None = None) -> None:
    """Check the contract of :class:`agentcomm.directory.DirectoryAttack` on random look-ups.

    It keeps to its threat model and its budget, does something, can be saved and restored, never succeeds as its own
    ``harmless`` control, and without a budget leaves everything bit for bit as it is.

    Args:
        attack: The attack's class.
        arguments: Its arguments; those by default when not given.

    Raises:
        AssertionError: If the attack breaks the contract.
    """
    check_plugin(attack, DirectoryAttackConfig)
    config = attack.Config.model_validate(arguments or {})
    assert isinstance(config, DirectoryAttackConfig)
    setting = Setting(WORLDS, MEMBERS, 1, 4, 1, torch.device("cpu"))
    made = attack(config, setting)
    check_threat(made)
    check_memory(made.memory, WORLDS)

    def market(changes: dict[str, Any] | None = None) -> _Market:
        out = _Market()
        changed = config if changes is None else config.model_copy(update=changes)
        out.directory.install([attack(changed, setting)], seed=1)
        return out

    attacked = market()
    first = [attacked.turn() for _ in range(STEPS)]
    guard = attacked.directory.guards[0]
    broken = {rule: count for rule, count in guard.violations.items() if rule != "beyond the budget"}
    require(not broken, f"it asks for more than its threat model allows: {broken}")
    require(guard.spent.any(), f"it did nothing in {STEPS} steps")
    again = market()
    require(all(_same(a, again.turn()) for a in first), "two runs of the same seed differ")
    saved = attacked.directory.snapshot()
    twin = market()
    twin.directory.restore(saved)
    kept = twin.directory.guards[0].memory
    require(all(torch.equal(kept[n], v) for n, v in guard.memory.items()), "its memory is not restored")
    control = market({"harmless": True})
    for _ in range(STEPS):
        control.turn()
        there = control.directory.guards[0].attack
        succeeded = there.share(control.directory.facts()) > there.config.threshold
        require(not succeeded.any(), "its harmless control succeeds")
    plain = _Market()
    clean = [plain.turn() for _ in range(STEPS)]
    for budget in (Budget(per_step=0), Budget(per_episode=0), Budget(start_step=1000)):
        idle = market({"budget": budget})
        same = all(_same(a, idle.turn()) for a in clean)
        require(same, f"it acts without a budget: threat_model leaves out {budget!r}")


def _same(first: Answer, second: Answer) -> bool:
    return all(torch.equal(getattr(first, f.name), getattr(second, f.name)) for f in fields(Answer))
