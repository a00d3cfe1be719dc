"""w_msr: drop what lies farthest above and below one's own value, and replace the messages by the mean of the rest.

Weighted mean-subsequence-reduced (LeBlanc et al., "Resilient asymptotic consensus in robust networks", IEEE JSAC 2013),
coordinate by coordinate: of the values above the receiver's own the F largest are dropped (all, if there are fewer), of
those below the F smallest; the mean of the rest and the own value takes the place of every message. With at most F
attackers in an inbox the result lies between honest values. If all agents average like this again and again and the
graph is (2 F + 1)-robust (:mod:`agentcomm.certificates.robustness`), honest agents agree within the range of their
first values. A policy does more with a message than averaging, so that theorem says nothing about its reward; and
messages that are not comparable with the receiver's own lose what they say.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.verdicts import InboxView
from agentcomm.defenses.robust import bounded


class WMSRConfig(DefenseConfig):
    """Arguments of ``w_msr``."""

    f: int = Field(1, ge=1, description="F, values to drop above and below the receiver's own: attackers to withstand")


class WMSR(Defense[WMSRConfig]):
    """W-MSR with equal weights."""

    name = "w_msr"
    answers = ("aa.l3.cross_validation",)
    adaptive = ("little", "gradient:adaptive=true")
    order = "trust"
    refuses = False
    lossless = False
    changes_payloads = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Against one attacker."""
        return {"": {"f": 1}}

    def aggregate(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        """The mean of the receiver's own values and those that are kept, in every slot."""
        own, present = inbox.own.unsqueeze(2), inbox.present.unsqueeze(-1)
        values = bounded(inbox.payload)
        kept = (
            present & ~_extreme(values, own, present, self.config.f) & ~_extreme(-values, -own, present, self.config.f)
        )
        total = own + values.masked_fill(~kept, 0.0).sum(2, keepdim=True)
        mean = total / (1 + kept.sum(2, keepdim=True))
        return torch.where(present, mean, inbox.payload)


def _extreme(values: Tensor, own: Tensor, present: Tensor, count: int) -> Tensor:
    """[B, N, M, D] bool, the ``count`` largest of the values above the own one, coordinate by coordinate.

    Args:
        values: [B, N, M, D].
        own: [B, N, 1, D].
        present: [B, N, M, 1] bool.
        count: How many.
    """
    above = present & (values > own)
    rank = values.masked_fill(~above, -torch.inf).argsort(dim=2, descending=True, stable=True).argsort(dim=2)
    return above & (rank < count)
