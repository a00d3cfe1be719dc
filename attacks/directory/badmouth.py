"""badmouth: write false ratings into the reputations that the hub keeps, the team's memory of whom to trust."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.directory_attack import DirectoryAttack, DirectoryAttackConfig
from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView, Ratings
from agentcomm.contracts.outcome import Facts
from agentcomm.contracts.threat_model import Position, ThreatModel

NAMES = 256  # of members, at most


class BadmouthConfig(DirectoryAttackConfig):
    """Arguments of ``badmouth``; the ``noop_control`` control rates a name that nobody has."""

    rate: int = Field(4, ge=1, le=4096, description="ratings per step")
    praise: bool = Field(True, description="rate the bad well, besides the good badly")


class Badmouth(DirectoryAttack[BadmouthConfig]):
    """A newcomer that was never served and says that it was: well by the bad, and badly by the good.

    Good and bad is who stood above and below a stranger when it first looked. ``directory.ratings: members`` stops it.
    """

    risks = ("ae.l3.memory",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """With and without praise of the bad."""
        return {"": {}, "slander only": {"rate": 9, "praise": False, "budget": {"per_step": 8}}}

    def threat_model(self) -> ThreatModel:
        """Reads public reputations and reports outcomes."""
        return ThreatModel(Position(kind="newcomer"), frozenset({"read", "inject"}), "protocol", self.config.budget)

    def ratings(self) -> int:
        """As many in each step."""
        return self.config.rate

    def memory(self) -> dict[str, Tensor]:
        """[B, P] by name: 1 for good, -1 for bad, 0 for not known yet."""
        s = self.team_shape
        return {"known": torch.zeros(s.num_worlds, NAMES, dtype=torch.int64, device=s.device)}

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """Rate some whom it knows about, by lot."""
        c, members = self.config, min(view.members, NAMES)
        known = view.memory["known"][:, :members]
        stands = (2 * view.reputation[:, :members] - 1).sign().long()
        known.copy_(torch.where(known == 0, stands, known))
        some = known != 0 if c.praise else known > 0
        lot = view.rand(len(view.step), members).masked_fill(~some, -1.0).argsort(1, descending=True)
        number = torch.arange(c.rate, device=view.step.device).expand(len(view.step), -1)
        count = some.sum(1, keepdim=True)
        who = lot.gather(1, number % count.clamp_min(1))
        where = (count > 0) & (number < view.remaining.unsqueeze(1))
        good = known.gather(1, who) < 0
        if c.noop_control:
            who = torch.full_like(who, view.principals - 1)
        return DirectoryEdits(ratings=Ratings(where, who, good))

    def share(self, facts: Facts) -> Tensor:
        """Of all that is remembered, what was made up about members."""
        return facts.share("slandered")
