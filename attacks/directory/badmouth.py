"""badmouth: report false ratings to the hub, whose reputations are the team's memory of whom to trust."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.directory_attack import DirectoryAttack, DirectoryAttackConfig
from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView, Ratings
from agentcomm.contracts.outcome import Facts
from agentcomm.contracts.threat_model import Position, ThreatModel

NAMES = 256  # members that it can rate, at most


class BadmouthConfig(DirectoryAttackConfig):
    """Arguments of ``badmouth``."""

    rate: int = Field(4, ge=1, le=4096, description="ratings per step")
    praise: bool = Field(True, description="also rate bad members well, not only good ones badly")


class Badmouth(DirectoryAttack[BadmouthConfig]):
    """A newcomer that rates members it was never served by: good ones badly, and bad ones well.

    Members count as good or bad if their reputation was above or below a stranger's when the attack first read it.
    The defense ``member_ratings`` stops it.
    """

    risks = ("ae.l3.memory",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """With and without praise of the bad."""
        return {"": {}, "slander only": {"rate": 9, "praise": False, "budget": {"per_step": 8}}}

    def threat_model(self) -> ThreatModel:
        """A newcomer that reads public reputations and reports outcomes."""
        return ThreatModel(Position(kind="newcomer"), frozenset({"read", "inject"}), "protocol", self.config.budget)

    def ratings(self) -> int:
        """``rate`` per step."""
        return self.config.rate

    def memory(self) -> dict[str, Tensor]:
        """``known``: [B, P] int64 by name, 1 for good, -1 for bad, 0 for not known yet."""
        s = self.team_shape
        return {"known": torch.zeros(s.num_worlds, NAMES, dtype=torch.int64, device=s.device)}

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """Rate randomly chosen members that are known to be good or bad."""
        c, members = self.config, min(view.members, NAMES)
        known = view.memory["known"][:, :members]
        verdict = (2 * view.reputation[:, :members] - 1).sign().long()
        known.copy_(torch.where(known == 0, verdict, known))
        targets = known != 0 if c.praise else known > 0
        order = view.rand(len(view.step), members).masked_fill(~targets, -1.0).argsort(1, descending=True)
        number = torch.arange(c.rate, device=view.step.device).expand(len(view.step), -1)
        count = targets.sum(1, keepdim=True)
        rated = order.gather(1, number % count.clamp_min(1))
        where = (count > 0) & (number < view.remaining.unsqueeze(1))
        good = known.gather(1, rated) < 0
        return DirectoryEdits(ratings=Ratings(where, rated, good))

    def share(self, facts: Facts) -> Tensor:
        """False ratings of members, as a share of all ratings on record."""
        return facts.share("slandered")
