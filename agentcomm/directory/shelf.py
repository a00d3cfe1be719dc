"""All cards of a hub as look-ups are shown them, and the answers that follow.

Shapes: B worlds, S places, K skills, P principals, Q look-ups, k cards per answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from agentcomm.contracts.cards import Cards
from agentcomm.contracts.directory_defense import Answer
from agentcomm.directory.ranking import best, score
from agentcomm.guards.directory import Permitted


@dataclass(frozen=True)
class Shelf:
    """All cards as each of Q look-ups is shown them: present, principal, reputation [B, Q, S], claim [B, Q, S, K]."""

    present: Tensor
    principal: Tensor
    claim: Tensor
    reputation: Tensor

    @classmethod
    def of(cls, cards: Cards, reputation: Tensor, lookups: int) -> Shelf:
        """The cards [B, S] as they are, for so many look-ups; reputation [B, P] goes by the name on them."""
        stands = reputation.gather(1, cards.principal.clamp_min(0))
        shown = (v.unsqueeze(1) for v in (cards.present, cards.principal, cards.claim, stands))
        return cls(*(v.expand(-1, lookups, *v.shape[2:]) for v in shown))

    def with_changes(self, permitted: Permitted) -> Shelf:
        """What a poisoned hub shows instead."""
        claim, reputation = permitted.claim, permitted.reputation
        if claim is None and reputation is None:
            return self
        return replace(
            self,
            claim=self.claim if claim is None else (self.claim + claim).clamp(0, 1),
            reputation=self.reputation if reputation is None else (self.reputation + reputation).clamp(0, 1),
        )

    def ties(self, generator: torch.Generator) -> Tensor:
        """[B, Q, S] random numbers that order cards of the same score."""
        return torch.rand(self.reputation.shape, generator=generator, device=self.reputation.device)

    def answer(
        self,
        requirement: Tensor,
        served: Tensor,
        excluded: Tensor,
        ties: Tensor,
        listed: int,
        weight: float,
        offered: Tensor | None = None,
    ) -> Answer:
        """Rank the cards for each look-up; cards that claim nothing of what is required are not named.

        Args:
            requirement: [B, Q, K].
            served: [B, Q] bool, look-ups to answer.
            excluded: [B, Q, P] bool, principals not to name.
            ties: As :meth:`ties` draws them.
            listed: k.
            weight: What full reputation is worth, in claimed skill.
            offered: [B, Q, S], what cards claim of what is required, if it is known.
        """
        offered = (self.claim * requirement.unsqueeze(2)).sum(3) if offered is None else offered
        eligible = self.present & ~excluded.gather(2, self.principal.clamp_min(0)) & served.unsqueeze(2)
        eligible = eligible & (offered > 0)
        slot = best(score(offered, self.reputation, weight), eligible, listed, ties)
        at, none = slot.clamp_min(0), slot < 0
        claim = self.claim.gather(2, at.unsqueeze(3).expand(*at.shape, self.claim.shape[-1]))
        return Answer(
            slot=slot,
            principal=self.principal.gather(2, at).masked_fill(none, -1),
            claim=claim.masked_fill(none.unsqueeze(3), 0.0),
            reputation=self.reputation.gather(2, at).masked_fill(none, 0.0),
            served=served,
        )
