"""Approvals that are good for one execution and cannot be left out."""

from __future__ import annotations

import secrets

from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.store import MemoryStore, Store

_ASKED, _USED = b"asked", b"used"


class Approvals:
    """Hands out numbers for questions, and takes each back once.

    Args:
        store: Where the open questions are.
        seconds: How long a question stays open.
    """

    def __init__(self, store: Store | None = None, seconds: float = 600.0) -> None:
        self._store = MemoryStore() if store is None else store
        self._seconds = seconds

    def ask(self, principal: str) -> str:
        """The number of a new question to a principal.

        Raises:
            StoreError: If the store is full or down.
        """
        number = secrets.token_hex(16)
        self._store.update(principal, number, lambda _: _ASKED, self._seconds)
        return number

    def take(self, principal: str, number: str | None) -> None:
        """Use up the answer to a question.

        Raises:
            RefusedError: If the question was never asked of this principal, its time is over, or its answer was used.
        """
        if not number:
            raise RefusedError("an answer came without the question it belongs to")

        def change(old: bytes | None) -> bytes:
            if old != _ASKED:
                raise RefusedError("the approval was used before, has expired, or was never asked for")
            return _USED

        self._store.update(principal, number, change, self._seconds)
