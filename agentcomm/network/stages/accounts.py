"""Stages that record what became of the messages of an exchange."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from agentcomm.guards.messages import MessageGuard
from agentcomm.network.exchange import Exchange
from agentcomm.network.ledger import Ledger
from agentcomm.network.stages.stage import Stage


class Spread(Stage):
    """Receivers that accept a message of a spreading attack become compromised."""

    def __init__(self, guards: Sequence[MessageGuard]) -> None:
        self.guards = guards

    def __call__(self, x: Exchange) -> None:
        """Tell the attacks which messages were accepted."""
        for guard in self.guards:
            guard.spread(x.accepted)


class Count(Stage):
    """Counts messages, bytes and refusals in the ledger.

    Args:
        ledger: The ledger.
        attacked: Whether to count effects of attacks.
        copies: [M] bool, slots of attacks that inject copies of earlier messages only.
    """

    def __init__(self, ledger: Ledger, attacked: bool, copies: Tensor) -> None:
        self.ledger, self.attacked, self.copies = ledger, attacked, copies

    def __call__(self, x: Exchange) -> None:
        """Count the messages by their fate."""
        accepted, did = x.accepted, x.effects
        self.ledger.count(sent=x.sent, accepted=accepted)
        self.ledger.carry(x.put, x.size)
        for by, where in x.refused.items():
            self.ledger.refuse(by, where)
        if not self.attacked:
            return
        self.ledger.count(
            dropped=did.dropped,
            delayed=did.delay > 0,
            tampered=did.tampered & ~did.dropped,
            forged=did.forged & ~self.copies,
            replayed=did.forged & self.copies,
            injected_bytes=x.size * did.forged,
            accepted_forged=accepted & x.forged & ~self.copies,
            accepted_replayed=accepted & x.forged & self.copies,
            accepted_tampered=accepted & x.tampered,
        )
        if did.fragments is not None:
            self.ledger.count(fragments=did.fragments.count())
        if did.repeated is not None:
            self.ledger.count(fragments=did.repeated)
