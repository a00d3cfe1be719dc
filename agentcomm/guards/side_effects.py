"""Side effects of attacks: finds and undoes state outside their memory, draws from global generators, and settings.

This holds an attack to its contract where it breaks it by a slip. It is no sandbox: an attack is Python code in the
same process, and one that inspects interpreter frames, or objects that it was never handed, is not stopped. Read
foreign code before you trust its numbers.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agentcomm.guards.watching import Watcher

# Settings of torch that outlive a call: how to read and set each.
SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, torch.set_default_device),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
)


class SideEffects:
    """Watches one attack while its code runs, and undoes forbidden side effects.

    Args:
        attack: The attack, as it was built.
        violations: Counter of violations by rule.
    """

    def __init__(self, attack: object, violations: Counter[str]) -> None:
        self.violations = violations
        self._watcher = Watcher(type(attack).__module__.partition(".")[0])
        self._watcher.value(vars(attack))
        self._watcher.value(type(attack))
        config = getattr(attack, "config", None)
        if config is not None:
            self._watcher.value(vars(config))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Run a hook in this context; on exit, the attack, global generators and settings are restored."""
        generators, settings = _generators(), [read() for read, _ in SETTINGS]
        try:
            yield
        finally:
            if not _same(generators, _generators()):
                self.violations["draws from the global generator"] += 1
                torch.set_rng_state(generators[0])
                random.setstate(generators[1])
                np.random.set_state(generators[2])
            for (read, write), before in zip(SETTINGS, settings, strict=True):
                if read() != before:
                    self.violations["changes settings of torch"] += 1
                    write(before)
            if self._watcher.restore():
                self.violations["keeps state outside its memory"] += 1

    def violate(self, rule: str, where: Tensor) -> None:
        """Count violations of a rule."""
        if count := int(where.sum()):
            self.violations[rule] += count


def _generators() -> tuple[Tensor, Any, Any]:
    return torch.get_rng_state(), random.getstate(), np.random.get_state()


def _same(first: tuple[Tensor, Any, Any], second: tuple[Tensor, Any, Any]) -> bool:
    numpy_same = first[2][2:] == second[2][2:] and np.array_equal(first[2][1], second[2][1])
    return torch.equal(first[0], second[0]) and first[1] == second[1] and numpy_same
