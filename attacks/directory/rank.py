"""rank: climb the ranking with a card that is optimized against it, and change its name when that is spoiled."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView, Registrations
from agentcomm.contracts.threat_model import Position, Power, ThreatModel
from attacks.directory.newcomer import Newcomer, NewcomerConfig

SKILLS = 64  # at most, of any market


class RankConfig(NewcomerConfig):
    """Arguments of ``rank``."""

    knowledge: Literal["protocol", "none"] = Field(
        "protocol", description="it reads cards and knows how they are ranked, or sees what its own look-ups show"
    )
    steps: int = Field(
        20, ge=0, description="steps of the climb (protocol), each raising the claims that are not first"
    )
    rate: float = Field(0.1, gt=0, le=1, description="how far one step raises a claim")
    weight: float = Field(0.5, ge=0, description="what it takes a reputation to be worth to the hub")
    whitewash: bool = Field(True, description="go on under a new name once it stands worse than a stranger")


class Rank(Newcomer[RankConfig]):
    """One card that knows how the hub ranks and claims just enough to be first for every skill.

    It begins as an average card and climbs coordinate by coordinate, against all cards as they stand now. Without that
    knowledge it begins by claiming half of everything and asks the hub for every skill in every step, at the price of a
    request each: what it is not the first to be named for it claims more of, one step of the climb per step.
    """

    risks = ("aa.l2.seo_poisoning",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """With and without whitewashing, and without knowledge of the ranking."""
        return {"": {}, "one name": {"whitewash": False, "steps": 3, "stalls": True}, "blind": {"knowledge": "none"}}

    def threat_model(self) -> ThreatModel:
        """Reads public cards, or sends look-ups; registers its own."""
        c = self.config
        powers: frozenset[Power] = frozenset({"register", "inject" if c.knowledge == "none" else "read"})
        return ThreatModel(Position(kind="newcomer"), powers, c.knowledge, c.budget)

    def registrations(self) -> int:
        """One card."""
        return 1

    def sends_lookups(self) -> bool:
        """Only then does it need to."""
        return self.config.knowledge == "none"

    def requests(self) -> int:
        """A look-up for each skill, of which it asks for no more than there are."""
        return SKILLS if self.sends_lookups() else 0

    def memory(self) -> dict[str, Tensor]:
        """Which of its names it uses, counted from the first: [B, 1]; what it claims of a skill: [B, SKILLS]."""
        s = self.team_shape
        used = torch.zeros(s.num_worlds, 1, dtype=torch.int64, device=s.device)
        claim = {"claim": torch.full((s.num_worlds, SKILLS), 0.5, device=s.device)} if self.sends_lookups() else {}
        return {"used": used} | claim

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """Climb, and send the card if it is another than the one that stands."""
        if self.sends_lookups():
            return self._blindly(view)
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
        if c.noop_control:
            claim = torch.zeros_like(claim)
        standing = (view.claim * mine.unsqueeze(2)).sum(1)
        where = ~mine.any(1, keepdim=True) | (claim - standing > 1e-6).any(1, keepdim=True)
        return DirectoryEdits(register=self._card(where & (view.remaining > 0).unsqueeze(1), name, claim))

    def _card(self, where: Tensor, name: Tensor, claim: Tensor) -> Registrations:
        return Registrations(
            where=where,
            principal=name.clone(),
            claim=claim.unsqueeze(1),
            key=name.clone(),
            quality=torch.full_like(where, self.config.quality, dtype=torch.float32),
            stalls=torch.full_like(where, self.config.stalls),
        )

    def _blindly(self, view: DirectoryView) -> DirectoryEdits:
        """Claim more of what it is not named first for; when that cannot be, be somebody else."""
        c, used, worlds = self.config, view.memory["used"], len(view.step)
        claim = view.memory["claim"][:, : view.skills]
        name = view.members + used
        first = view.answers[..., 0]
        beaten = (first >= 0) & (first != name)
        spoiled = (beaten & (claim >= 1)).any(1, keepdim=True) & (name + 1 < view.principals) & c.whitewash
        used += spoiled
        claim.copy_(torch.where(beaten, (claim + c.rate).clamp_max(1.0), claim))
        where = (spoiled | beaten.any(1, keepdim=True) | ~view.taken) & (view.remaining > 0).unsqueeze(1)
        requests = torch.full((worlds,), view.skills, device=view.step.device)
        shown = torch.zeros_like(claim) if c.noop_control else claim.clone()
        return DirectoryEdits(
            register=self._card(where, view.members + used, shown), requests=requests.minimum(view.remaining)
        )
