"""How many episodes an evaluation in training may have, so that it takes a small share of the time of training."""

from __future__ import annotations

import time

MOST_EPISODES = 256
SHARE = 0.1  # of the time since the last evaluation
SECONDS = 2.0  # that every evaluation may take


class EvaluationSize:
    """Chooses the number of episodes of each evaluation.

    Args:
        most: Largest number of episodes.
        fixed: Whether to always have that number.
        max_steps: Longest episode.
    """

    def __init__(self, most: int, fixed: bool, max_steps: int) -> None:
        self._most, self._fixed, self._max_steps = most, fixed, max_steps
        self._estimated = self._measured = 0.0  # seconds of an episode, from training and from the last evaluation
        self._began = self._ended = time.perf_counter()

    def measure(self, seconds_per_step: float, length: float | None) -> None:
        """Estimate what an episode takes.

        Args:
            seconds_per_step: What one env step took in training.
            length: Mean steps of the episodes in training; None if unknown.
        """
        self._estimated = seconds_per_step * (self._max_steps if length is None else length)

    def begin(self) -> int:
        """Begin an evaluation; returns its number of episodes.

        A power of two that only shrinks, and does not where evaluation is fast: so that it rarely depends on how busy
        the machine is.
        """
        self._began = time.perf_counter()
        if not self._fixed:
            seconds = max(SHARE * (self._began - self._ended), SECONDS)
            affordable = seconds / max(self._measured or self._estimated, 1e-9)
            self._most = 1 << (max(int(min(self._most, affordable)), 1).bit_length() - 1)
        return self._most

    def end(self) -> None:
        """End the evaluation, and measure what an episode takes."""
        self._ended = time.perf_counter()
        self._measured = (self._ended - self._began) / self._most
