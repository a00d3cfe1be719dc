"""signed_cards: cards count only if the key on them has signed what they claim.

The hub registers no card whose signature does not fit it, so a copied card cannot be improved. Requesters check the
signatures on the cards that an answer shows, and ignore the others, so a hub cannot change claims: if no card is left,
the look-up counts as not answered, and ``last_good`` fills in.

It cannot stop: cards that are copied as they are, signature included (``copied_card:lift=0``): that takes a proof in
session that whoever registers a card holds its key (``challenge``). Nor look-alikes with keys of their own, lies that
an agent signs about itself, and a hub that lists cards in a wrong order, omits them or changes reputations.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from agentcomm.contracts.defense import Defense
from agentcomm.contracts.directory_defense import DirectoryRequests, DirectoryVerdicts


class SignedCards(Defense):
    """Refuses cards without a valid signature at the hub, and ignores them in answers."""

    order = "authenticate"
    answers = ("aa.l2.capability_verification", "ae.l1.resource_authentication")
    adaptive = ("copied_card:lift=0.0",)
    fails_open = False

    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        """Check the signatures of cards that are sent, and of those shown."""
        answer = requests.answer
        if answer is None:
            return DirectoryVerdicts(refuse_cards=~requests.card_signed)
        bad = ~requests.answer_signed
        kept = replace(
            answer,
            slot=answer.slot.masked_fill(bad, -1),
            principal=answer.principal.masked_fill(bad, -1),
            claim=answer.claim.masked_fill(bad.unsqueeze(3), 0.0),
            reputation=answer.reputation.masked_fill(bad, 0.0),
            served=answer.served & ~((answer.slot >= 0).any(2) & bad.all(2)),
        )
        return DirectoryVerdicts(refuse_cards=~requests.card_signed, answer=kept)
