"""badmouth: write false ratings into the reputations that the hub keeps, the team's memory of whom to trust."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.directory import DirectoryAttack, DirectoryAttackConfig, DirectoryEdits, DirectoryView, Facts, Ratings
from agentcomm.threats import Position, ThreatModel


class BadmouthConfig(DirectoryAttackConfig):
    """Arguments of ``badmouth``; the ``harmless`` control rates a name that nobody has."""

    rate: int = Field(2, ge=1, le=4096, description="ratings per step")
    victims: int = Field(2, ge=1, le=4096, description="members that are rated, those that stand best now")


class Badmouth(DirectoryAttack):
    """A newcomer that was never served and says that it was served badly. ``directory.ratings: members`` stops it."""

    Config = BadmouthConfig
    config: BadmouthConfig
    name = "badmouth"
    risks = ("ae.l3.memory",)

    def threat_model(self) -> ThreatModel:
        """Reads public reputations and reports outcomes."""
        return ThreatModel(Position(kind="newcomer"), frozenset({"read", "inject"}), "protocol", self.config.budget)

    def ratings(self) -> int:
        """As many in each step."""
        return self.config.rate

    def meddle(self, view: DirectoryView) -> DirectoryEdits:
        """Rate the best members badly, in turn."""
        assert view.reputation is not None
        c = self.config
        number = torch.arange(c.rate, device=view.step.device).expand(len(view.step), -1)
        some = min(c.victims, view.members)
        # Who stands equally well is chosen by lot.
        standing = view.reputation[:, : view.members] + 1e-4 * view.rand(len(view.step), view.members)
        victim = standing.topk(some, 1).indices.gather(1, number % some)
        where = number < view.remaining.unsqueeze(1)
        if c.harmless:
            victim = torch.full_like(victim, view.principals - 1)
        return DirectoryEdits(ratings=Ratings(where, victim, torch.zeros_like(where)))

    def share(self, facts: Facts) -> Tensor:
        """Of all that is remembered, what was made up about members."""
        return facts.share("slandered")
