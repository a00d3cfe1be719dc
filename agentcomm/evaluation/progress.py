"""Progress within a cell, whose episodes may take minutes in slow environments."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import Tensor

SECONDS = 1.0  # between two reports


class CellProgress:
    """Reports which share of a cell's work is done, at most once per second.

    Args:
        runs: How many times the cell's episodes are run: under the attack, its control, and so on.
        tell: Called with the share.
    """

    def __init__(self, runs: int, tell: Callable[[float], None]) -> None:
        self._runs, self._tell = runs, tell
        self._begun, self._told = 0, time.perf_counter()

    def episodes(self, max_steps: int) -> Callable[[int, Tensor], None]:
        """Begin to run the episodes once; returns what ``play`` calls after each step."""
        self._begun += 1
        before = min(self._begun, self._runs) - 1

        def after_step(steps: int, running: Tensor) -> None:
            now = time.perf_counter()
            if now - self._told >= SECONDS:
                self._told = now
                left = float(running.float().mean()) * (1 - steps / max_steps)
                self._tell((before + 1 - left) / self._runs)

        return after_step
