"""rank: climb the ranking with a card that is optimized against it, and change its name when that is spoiled."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.directory import (
    DirectoryAttack,
    DirectoryAttackConfig,
    DirectoryEdits,
    DirectoryView,
    Facts,
    Registrations,
)
from agentcomm.directory.attack import ratio
from agentcomm.threats import Position, Setting, ThreatModel


class RankConfig(DirectoryAttackConfig):
    """Arguments of ``rank``."""

    steps: int = Field(20, ge=0, description="steps of the climb, each raising the claims that are not first")
    rate: float = Field(0.1, gt=0, le=1, description="how far one step raises a claim")
    weight: float = Field(0.5, ge=0, description="what it takes a reputation to be worth to the hub")
    whitewash: bool = Field(True, description="go on under a new name once it stands worse than a stranger")
    quality: float = Field(0.0, ge=0, le=1, description="chance that a task given to it is delivered")
    stalls: bool = Field(False, description="keep tasks until their deadline instead of failing at once")


class Rank(DirectoryAttack):
    """One card that knows how the hub ranks and claims just enough to be first for every skill.

    It begins as an average card and climbs coordinate by coordinate, against all cards as they stand now.
    """

    Config = RankConfig
    config: RankConfig
    name = "rank"
    risks = ("aa.l2.seo_poisoning",)

    def __init__(self, config: RankConfig, setting: Setting) -> None:
        super().__init__(config, setting)

    def threat_model(self) -> ThreatModel:
        """Reads public cards and registers its own."""
        return ThreatModel(Position(kind="newcomer"), frozenset({"read", "register"}), "protocol", self.config.budget)

    def registrations(self) -> int:
        """One card."""
        return 1

    def memory(self) -> dict[str, Tensor]:
        """Which of its names it uses: [B, 1] int64, counted from the first."""
        return {"used": torch.zeros(self.setting.num_worlds, 1, dtype=torch.int64, device=self.setting.device)}

    def meddle(self, view: DirectoryView) -> DirectoryEdits:
        """Climb, and send the card if it is another than the one that stands."""
        assert view.claim is not None
        assert view.principal is not None
        assert view.present is not None
        assert view.reputation is not None
        c, used = self.config, view.memory["used"]
        name = view.members + used
        if c.whitewash:
            spoiled = (view.reputation.gather(1, name) < 0.5) & (name + 1 < view.principals)
            used += spoiled
            name = view.members + used
        mine = view.present & (view.principal == name)
        # Cards of its former names are no rivals: they are below it already.
        rival = view.present & (view.principal < view.members)
        stands = c.weight * view.reputation.gather(1, view.principal.clamp_min(0))
        mark = (view.claim + stands.unsqueeze(2)).masked_fill(~rival.unsqueeze(2), 0.0).amax(1)  # [B, K]
        claim = (view.claim * rival.unsqueeze(2)).sum(1) / rival.sum(1, keepdim=True).clamp_min(1)
        own = c.weight * view.reputation.gather(1, name)
        for _ in range(c.steps):
            claim = torch.where(claim + own <= mark, (claim + c.rate).clamp_max(1.0), claim)
        if c.harmless:
            claim = torch.zeros_like(claim)
        standing = (view.claim * mine.unsqueeze(2)).sum(1)
        where = ~mine.any(1, keepdim=True) | (claim - standing > 1e-6).any(1, keepdim=True)
        return DirectoryEdits(
            register=Registrations(
                where=where & (view.remaining > 0).unsqueeze(1),
                principal=name.clone(),
                claim=claim.unsqueeze(1),
                key=name.clone(),
                quality=torch.full_like(own, c.quality),
                stalls=torch.full_like(where, c.stalls),
            )
        )

    def share(self, facts: Facts) -> Tensor:
        """Tasks that went to it."""
        return ratio(facts.misrouted, facts.routed)
