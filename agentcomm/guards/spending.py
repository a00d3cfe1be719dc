"""What an attack spends in each world's episode, which its matched control spends as well."""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.base.state import State

EDITS, CHANGES, NORM = range(3)


class Spending(State):
    """Accounts of the running episodes, and of the first complete one of each world.

    Args:
        num_worlds: B.
        device: Device of the accounts.

    Attributes:
        running: [3, B] float64: edits, changes of content, and the sum of their L2 norms.
        settled: [3, B] float64, the same of each world's first complete episode.
        closed: [B] bool, worlds that have completed one.
    """

    keeps = ("running", "settled", "closed")

    def __init__(self, num_worlds: int, device: torch.device) -> None:
        self.running = torch.zeros(3, num_worlds, dtype=torch.float64, device=device)
        self.settled = torch.zeros_like(self.running)
        self.closed = torch.zeros(num_worlds, dtype=torch.bool, device=device)

    def edit(self, worlds: Tensor | slice, cost: Tensor) -> None:
        """Add edits, one number per given world."""
        self.running[EDITS, worlds] += cost

    def change(self, norm: Tensor, where: Tensor) -> None:
        """Add changes ``where`` [B, ...] bool of content, with L2 norms [B, ...]."""
        self.running[CHANGES] += where.flatten(1).sum(1)
        self.running[NORM] += norm.masked_fill(~where, 0.0).flatten(1).sum(1, dtype=torch.float64)

    def close(self, worlds: Tensor, began: Tensor) -> None:
        """Close the accounts of the given worlds ([W] indices), where an episode ``began`` [W] bool."""
        first = worlds[began & ~self.closed[worlds]]
        self.settled[:, first] = self.running[:, first]
        self.closed[first] = True
        self.running[:, worlds] = 0

    def totals(self) -> tuple[int, float | None]:
        """Number of edits in each world's first episode, over all worlds; and the mean L2 norm of changes."""
        edits, changes, norm = torch.where(self.closed, self.settled, self.running).sum(1).tolist()
        return int(edits), norm / changes if changes else None
