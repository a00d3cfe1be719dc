"""track_record: what a card claims counts only as far as verified outcomes bear it out.

Requesters read each claim times its owner's reputation, which comes from outcomes alone, and ask the best of the cards
listed by that order. A stranger's claims, with a reputation of 0.5, count half.

Answers cards that are made to rank first (``rank``). It cannot stop: an attacker that earns a reputation first
(``rug_pull``), or takes a new name for each failure (``rank``), while no other name has a record yet; false ratings,
unless ``member_ratings`` refuses them; a hub that lists only its own choice. Good newcomers wait longer for tasks.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from agentcomm.contracts.defense import Defense
from agentcomm.contracts.directory_defense import DirectoryRequests, DirectoryVerdicts


class TrackRecord(Defense):
    """Discounts claims in answers by reputation, and puts the cards in that order."""

    order = "trust"
    answers = ("aa.l2.evidence_based_ranking",)
    adaptive = ("rug_pull",)
    lossless = False  # claims of good strangers are discounted, too

    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        """Discount and sort the cards of each answer; places without a card come last."""
        answer = requests.answer
        if answer is None:
            return DirectoryVerdicts()
        claim = answer.claim * answer.reputation.unsqueeze(3)
        worth = (claim * requests.requirement.unsqueeze(2)).sum(3).masked_fill(answer.slot < 0, -1.0)
        order = worth.argsort(dim=2, descending=True, stable=True)
        return DirectoryVerdicts(
            answer=replace(
                answer,
                slot=answer.slot.gather(2, order),
                principal=answer.principal.gather(2, order),
                claim=claim.gather(2, order.unsqueeze(3).expand_as(claim)),
                reputation=answer.reputation.gather(2, order),
            )
        )
