"""hub_poison: a compromised hub inverts claims and reputations in its answers to all requesters."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from agentcomm.contracts.directory_attack import DirectoryAttack, DirectoryAttackConfig
from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView
from agentcomm.contracts.outcome import Facts
from agentcomm.contracts.threat_model import Position, ThreatModel


class HubPoisonConfig(DirectoryAttackConfig):
    """Arguments of ``hub_poison``."""

    probability: float = Field(1.0, ge=0, le=1, description="chance that an answer is poisoned")
    field: Literal["claim", "reputation", "both"] = Field("both", description="what is inverted in an answer")


class HubPoison(DirectoryAttack[HubPoisonConfig]):
    """The hub itself, which inverts claims and reputations before it ranks."""

    risks = ("aa.l3.centralised_poisoning",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """All answers, and some of them within a norm."""
        return {"": {}, "sometimes": {"probability": 0.5, "field": "claim", "budget": {"norm": 0.6}}}

    def threat_model(self) -> ThreatModel:
        """The hub: reads all requests and changes answers."""
        return ThreatModel(Position(kind="hub"), frozenset({"read", "modify"}), "protocol", self.config.budget)

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """Replace each value x by 1 - x."""
        c, lookups = self.config, view.wanted.shape[1]
        modify = view.wanted & (view.rand(*view.wanted.shape) < c.probability)
        modify &= modify.cumsum(1) <= view.remaining.unsqueeze(1)
        claim = (1 - 2 * view.claim).unsqueeze(1).expand(-1, lookups, -1, -1)
        held = view.reputation.gather(1, view.principal.clamp_min(0))
        reputation = (1 - 2 * held).unsqueeze(1).expand(-1, lookups, -1)
        norm = c.budget.norm
        if norm is not None:
            claim, reputation = claim.clamp(-norm, norm), reputation.clamp(-norm, norm)
        return DirectoryEdits(
            modify=modify,
            claim=claim if c.field in ("claim", "both") else None,
            reputation=reputation if c.field in ("reputation", "both") else None,
        )

    def predicate(self) -> None:
        """Its goal is a worse score: any change of claims, such as its control's, makes answers differ."""
        return

    def share(self, facts: Facts) -> Tensor:
        """Share of answers that list other agents than an honest hub's would."""
        return facts.share("poisoned")
