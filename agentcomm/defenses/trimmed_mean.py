"""trimmed_mean: replace the messages of an inbox by their mean without the extremes of each coordinate.

Of each coordinate the f largest and the f smallest values are dropped, so f attackers move the rest by no more than
honest values differ (Yin et al., "Byzantine-robust distributed learning", ICML 2018). It keeps more of what honest
senders say than a median, and withstands fewer attackers. An inbox needs more than 2 f messages; smaller ones are left
alone, unprotected. f + 1 attackers can move the mean without bound.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.base.masks import zero_unless
from agentcomm.contracts.defense import DefenseConfig
from agentcomm.defenses.robust import CenterRule, ranked


class TrimmedMeanConfig(DefenseConfig):
    """Arguments of ``trimmed_mean``."""

    f: int = Field(1, ge=1, description="values to drop at either end of each coordinate: attackers to withstand")


class TrimmedMean(CenterRule[TrimmedMeanConfig]):
    """The mean of the values in the middle."""

    answers = ("aa.l3.cross_validation",)
    adaptive = ("little", "collude", "gradient:adaptive=true")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Against one attacker."""
        return {"": {"f": 1}}

    @property
    def least(self) -> int:
        """More than 2 f messages."""
        return 2 * self.config.f + 1

    def center(self, payload: Tensor, present: Tensor) -> Tensor:
        """The trimmed mean of each inbox."""
        f, count = self.config.f, present.sum(-1)
        place = torch.arange(payload.shape[2], device=payload.device).view(-1, 1, 1)
        kept = (place >= f) & (place < count - f)
        # More than f values that are not finite leave no honest mean; the result must still be finite.
        values = zero_unless(kept, ranked(payload, present)).nan_to_num(0.0, 0.0, 0.0)
        mean: Tensor = (values / kept.sum(0).clamp_min(1).unsqueeze(-1)).movedim(0, 2).contiguous().sum(2)
        return mean.nan_to_num(0.0, 0.0, 0.0)
