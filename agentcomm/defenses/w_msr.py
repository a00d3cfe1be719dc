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
from agentcomm.defenses.parts.ranking import largest
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
        own, values = inbox.own, bounded(inbox.payload).movedim(2, 0).contiguous()
        present = inbox.present.movedim(2, 0).unsqueeze(-1).expand_as(values).contiguous()
        high, low = (present & beyond for beyond in (values > own, values < own))
        kept = present & ~largest(values, high, self.config.f) & ~largest(-values, low, self.config.f)
        total = own + values.masked_fill(~kept, 0.0).movedim(0, 2).contiguous().sum(2)
        mean = total / (1 + kept.sum(0))
        return torch.where(inbox.present.unsqueeze(-1), mean.unsqueeze(2), inbox.payload)
