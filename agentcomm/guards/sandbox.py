"""The sandbox of attacks: it undoes state kept outside their memory, and draws from the global random generator.

An attack is Python code in the same process; one that inspects interpreter frames or closures is not stopped here. The
sandbox stops everything that an attack could do by mistake, or disguise as a mistake.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

COPIED = (Tensor, np.ndarray, list, tuple, dict, set, bytearray)


class AttackSandbox:
    """Watches one attack while its hooks run, and undoes forbidden side effects.

    Args:
        attack: The attack, as it was built.
        violations: Counter of violations by rule.
    """

    def __init__(self, attack: object, violations: Counter[str]) -> None:
        self.attack = attack
        self.violations = violations
        self._built = dict(vars(attack))
        self._copies = {name: copy.deepcopy(value) for name, value in self._built.items() if isinstance(value, COPIED)}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Run a hook in this context; on exit, the attack and the global generator are restored."""
        ambient = torch.get_rng_state()
        try:
            yield
        finally:
            if not torch.equal(ambient, torch.get_rng_state()):
                self.violations["draws from the global generator"] += 1
                torch.set_rng_state(ambient)
            self._undo()

    def violate(self, rule: str, where: Tensor) -> None:
        """Count violations of a rule."""
        if count := int(where.sum()):
            self.violations[rule] += count

    def check_memory(self, shown: dict[str, Tensor], memory: dict[str, Tensor]) -> None:
        """Reject memory whose tensors were replaced instead of changed: they could outlive episodes or cross worlds.

        Raises:
            ValueError: If the shown tensors are no longer those of the memory.
        """
        if shown.keys() != memory.keys() or any(shown[name] is not value for name, value in memory.items()):
            raise ValueError(f"{type(self.attack).__name__}: change the tensors of view.memory in place")

    def _undo(self) -> None:
        now = vars(self.attack)
        swapped = now.keys() != self._built.keys() or any(now[name] is not value for name, value in self._built.items())
        changed = [name for name, value in self._copies.items() if not _same(self._built[name], value)]
        if not swapped and not changed:
            return
        self.violations["keeps state outside its memory"] += 1
        for name in changed:
            self._built[name] = copy.deepcopy(self._copies[name])
        now.clear()
        now.update(self._built)


def _same(first: Any, second: Any) -> bool:
    if type(first) is not type(second):
        return False
    if isinstance(first, Tensor):
        return first.shape == second.shape and torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(value, second[key]) for key, value in first.items())
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(first, set | bytearray | int | float | str | bool):
        return bool(first == second)
    return True  # of other objects, only their replacement is detected
