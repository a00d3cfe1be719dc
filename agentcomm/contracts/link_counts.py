"""Messages per link in each of B episodes, kept for the links that carried any: as many entries as messages at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LinkCounts:
    """Messages that receiver i accepted from agent j, their true sender, in each episode.

    Attributes:
        worlds: B.
        agents: N.
        place: [E] int64, (b * N + i) * N + j of each link that carried messages, ascending.
        count: [E] int64, its messages.
    """

    worlds: int
    agents: int
    place: Tensor
    count: Tensor

    @classmethod
    def of(cls, dense: Tensor) -> LinkCounts:
        """The counts [B, N, N]."""
        flat = dense.flatten()
        place = flat.nonzero().squeeze(1)
        return cls(dense.shape[0], dense.shape[1], place, flat[place])

    @classmethod
    def joined(cls, worlds: int, agents: int, place: Sequence[Tensor], count: Sequence[Tensor]) -> LinkCounts:
        """Sums of counts, whose places [E'] can be in any order and occur more than once."""
        distinct, which = torch.unique(torch.cat(list(place)), return_inverse=True)
        total = torch.zeros_like(distinct).index_add_(0, which, torch.cat(list(count)))
        return cls(worlds, agents, distinct, total)

    @property
    def world(self) -> Tensor:
        """[E] int64, the episode of each link."""
        return self.place // self.agents**2

    @property
    def receiver(self) -> Tensor:
        """[E] int64."""
        return self.place // self.agents % self.agents

    @property
    def sender(self) -> Tensor:
        """[E] int64."""
        return self.place % self.agents

    def dense(self) -> Tensor:
        """[B, N, N] int64 counts by receiver and sender."""
        out = self.place.new_zeros(self.worlds * self.agents**2)
        return out.index_copy_(0, self.place, self.count).view(self.worlds, self.agents, self.agents)

    def total(self) -> Tensor:
        """[N, N] int64, sums over episodes."""
        out = self.place.new_zeros(self.agents**2)
        return out.index_add_(0, self.place % self.agents**2, self.count).view(self.agents, self.agents)

    def used(self) -> Tensor:
        """[B] int64, links of each episode that carried messages."""
        return torch.bincount(self.world, minlength=self.worlds)
