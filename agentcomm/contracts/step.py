"""One step of all worlds, as an environment reports it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One step of all worlds.

    Worlds whose episode ended are already reset: ``observation`` is that of the new episode, and
    ``final_observation`` has the last one of the old episode.

    Attributes:
        observation: [B, N, O], the next observations.
        reward: [B, N] float32.
        terminated: [B] bool, episodes that ended by the rules.
        truncated: [B] bool, episodes truncated at ``max_steps`` (never together with terminated).
        active: [B, N] bool, agents whose action counted in this step.
        left: [B, N] bool, members that left in this step.
        length: [B] int64, steps of the episode so far, this one included.
        success: [B] bool, whether the task's goal is reached (meaningful where done).
        success_known: [B] bool, whether the world knows that; without it, ``success`` says nothing.
        finished: [F] int64, indices of the worlds whose episode ended.
        final_observation: [F, N, O], last observations in these worlds.
        final_alive: [F, N] bool, members that were present at the end in these worlds.
    """

    observation: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    active: Tensor
    left: Tensor
    length: Tensor
    success: Tensor
    success_known: Tensor
    finished: Tensor
    final_observation: Tensor
    final_alive: Tensor

    @property
    def done(self) -> Tensor:
        """[B] bool, terminated or truncated."""
        return self.terminated | self.truncated
