"""little: colluding senders say the same thing, within the spread of what honest senders say (A Little Is Enough).

Aimed at defenses that look for outliers or take a robust mean: ``median``, ``trimmed_mean``, ``krum``,
``geometric_median``, ``w_msr``, ``bristle``, ``cross_check``. A minority of each inbox says mean + z * standard
deviation, coordinate by coordinate, so that it lies inside any trimmed range, close to the median, and, as it agrees
with itself, closer to its neighbors than honest messages are (Baruch et al., NeurIPS 2019, algorithm 3). The sign of
each coordinate is the one that harms the receiver. ``z`` lists factors to try; the largest deviation that the defenses
still let through is found by trying them (Fang et al., USENIX Security 2020).

An attacker on the path knows what all senders in an inbox say. A compromised agent only knows what it said itself,
and takes mean and deviation from that.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.views import MessageView
from attacks.adaptive.base import Adaptive, AdaptiveConfig, most_harmful, steepest


class LittleConfig(AdaptiveConfig):
    """Arguments of ``little``."""

    colluders: int | None = Field(
        None, ge=1, description="messages changed per inbox; none for the largest minority, and at least one"
    )
    z: tuple[float, ...] = Field(
        (1.0, 0.5, 2.0, 4.0), min_length=1, description="deviations to try, in standard deviations of honest messages"
    )


class Little(Adaptive[LittleConfig]):
    """Shifts a minority of an inbox by a multiple of the honest standard deviation."""

    risks = ("ua.l1.integrity", "aa.l3.mas_pollution")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A minority of every inbox."""
        return {"": {"z": [1.0, 2.0]}}

    def memory(self) -> dict[str, Tensor]:
        """Sums over what was said in its reach in this episode: ``count`` [B, rounds], ``sum``, ``squares`` [.., D]."""
        s = self.team_shape
        sizes = (s.num_worlds, s.rounds)
        named = {name: torch.zeros(*sizes, s.width, device=s.device) for name in ("sum", "squares")}
        return {"count": torch.zeros(sizes, device=s.device), **named}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Put the same value near the mean into the colluding messages of each inbox."""
        mean, deviation = self._spread(view)
        some = self._colluding(view)
        sign = self._signs(view, some)
        changes = [
            self.within(torch.where(some.unsqueeze(-1), mean + z * deviation * sign - view.payload, 0.0))
            for z in self.config.z
        ]
        return MessageEdits(modify=some, change=most_harmful(view, changes))

    def _spread(self, view: MessageView) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of what is said, [B, N or 1, 1, D] each."""
        reach = view.reach.unsqueeze(-1)
        if self.config.node is None:
            count = reach.sum(2, keepdim=True).clamp_min(1)
            mean = (view.payload * reach).sum(2, keepdim=True) / count
            away = ((view.payload - mean) * reach).square().sum(2, keepdim=True) / count
            return mean, away.sqrt()
        count, total, squares = (view.memory[name][:, view.round] for name in ("count", "sum", "squares"))
        count += view.reach.flatten(1).sum(1)
        total += (view.payload * reach).flatten(1, 2).sum(1)
        squares += (view.payload * reach).square().flatten(1, 2).sum(1)
        number = count.clamp_min(1).unsqueeze(-1)
        mean = total / number
        deviation = (squares / number - mean.square()).clamp_min(0).sqrt()
        return mean[:, None, None], deviation[:, None, None]

    def _colluding(self, view: MessageView) -> Tensor:
        """[B, N, M] bool, the first messages of each inbox, as many as collude."""
        drawn = self.drawn(view)
        most: Tensor | int = self.config.colluders or ((view.reach.sum(-1, keepdim=True) - 1) // 2).clamp_min(1)
        return drawn & (drawn.cumsum(-1) <= most)

    def _signs(self, view: MessageView, some: Tensor) -> Tensor:
        """[B, N, 1, D], the sign by which each coordinate of an inbox's colluding messages is shifted."""
        sign: Tensor = (steepest(view) * some.unsqueeze(-1)).sum(2, keepdim=True).sign()
        return sign
