"""rank: optimize a card against the hub's ranking, under a new name whenever the reputation of the old one drops."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView, Registrations
from agentcomm.contracts.threat_model import Position, Power, ThreatModel
from attacks.directory.newcomer import Newcomer, NewcomerConfig

SKILLS = 64  # skills of a market, at most


class RankConfig(NewcomerConfig):
    """Arguments of ``rank``."""

    knowledge: Literal["protocol", "none"] = Field(
        "protocol",
        description="reads cards and knows how they are ranked (protocol), or only looks up skills (none)",
    )
    steps: int = Field(
        20, ge=0, description="optimization steps (protocol), each of which raises claims that do not rank first"
    )
    rate: float = Field(0.1, gt=0, le=1, description="how much one optimization step raises a claim")
    weight: float = Field(0.5, ge=0, description="weight of reputation in the hub's ranking, as it assumes")
    whitewash: bool = Field(
        True, description="register under a new name once its reputation is below a stranger's (whitewashing)"
    )


class Rank(Newcomer[RankConfig]):
    """A newcomer with one card that claims just enough to rank first for every skill.

    It starts from the average card and raises its claims coordinate by coordinate, against all cards that are
    registered now. Without knowledge of the ranking it starts by claiming 0.5 of every skill and looks up every skill
    in every step, at the price of one request each: it raises the claims for which it is not listed first, by one
    optimization step per step of the episode.
    """

    risks = ("aa.l2.seo_poisoning",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """With and without whitewashing, and without knowledge of the ranking."""
        return {"": {}, "one name": {"whitewash": False, "steps": 3, "stalls": True}, "blind": {"knowledge": "none"}}

    def threat_model(self) -> ThreatModel:
        """A newcomer that reads public cards, or sends look-ups, and registers its own card."""
        c = self.config
        powers: frozenset[Power] = frozenset({"register", "inject" if c.knowledge == "none" else "read"})
        return ThreatModel(Position(kind="newcomer"), powers, c.knowledge, c.budget)

    def registrations(self) -> int:
        """One card."""
        return 1

    def sends_lookups(self) -> bool:
        """Whether it knows nothing of the ranking."""
        return self.config.knowledge == "none"

    def requests(self) -> int:
        """One look-up per skill, at most."""
        return SKILLS if self.sends_lookups() else 0

    def memory(self) -> dict[str, Tensor]:
        """``used``: [B, 1] int64, the number of the name that it uses; and claims [B, SKILLS].

        ``claim`` are its current ones, ``stands`` those of the registered card, ``sent`` those of the card sent last.
        """
        s = self.team_shape
        used = torch.zeros(s.num_worlds, 1, dtype=torch.int64, device=s.device)
        names = ("claim",) if self.sends_lookups() else ("stands", "sent")
        return {"used": used} | {name: torch.full((s.num_worlds, SKILLS), 0.5, device=s.device) for name in names}

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """Optimize the card, and register it if it differs from the registered one."""
        if self.sends_lookups():
            return self._without_reading(view)
        c, used = self.config, view.memory["used"]
        name = view.members + used
        if c.whitewash:
            spoiled = (view.reputation.gather(1, name) < 0.5) & (name + 1 < view.principals)
            used += spoiled
            name = view.members + used
        mine = view.present & (view.principal == name)
        # Cards under its former names do not compete: they rank below it already.
        rival = view.present & (view.principal < view.members)
        credit = c.weight * view.reputation.gather(1, view.principal.clamp_min(0))
        mark = (view.claim + credit.unsqueeze(2)).masked_fill(~rival.unsqueeze(2), 0.0).amax(1)  # [B, K]
        claim = (view.claim * rival.unsqueeze(2)).sum(1) / rival.sum(1, keepdim=True).clamp_min(1)
        own = c.weight * view.reputation.gather(1, name)
        for _ in range(c.steps):
            claim = torch.where(claim + own <= mark, (claim + c.rate).clamp_max(1.0), claim)
        stands, sent = (view.memory[part][:, : view.skills] for part in ("stands", "sent"))
        stands.copy_(torch.where(view.taken, sent, stands))
        sent.copy_(claim)
        where = ~mine.any(1, keepdim=True) | (claim - stands > 1e-6).any(1, keepdim=True)
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

    def _without_reading(self, view: DirectoryView) -> DirectoryEdits:
        """Raise the claims for which it is not listed first; once they are at the maximum, take another name."""
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
        return DirectoryEdits(
            register=self._card(where, view.members + used, claim.clone()), requests=requests.minimum(view.remaining)
        )
