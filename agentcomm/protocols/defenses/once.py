"""Once: one execution per owner and message id, however often the message arrives.

The first arrival runs; later ones with the same content wait for its outcome. The same id with another content is
refused, and the same id from another owner is another message. A failed execution stays executed, because nobody knows
how far it came: an attacker must not gain a second execution by making the first one fail.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.store import MemoryStore, Store

Outcome = TypeVar("Outcome")


class Once(Generic[Outcome]):
    """Runs each message of each owner once. Belongs to one event loop.

    Args:
        store: Remembers which ids were used. A store that outlasts this process also refuses what an earlier process
            executed; the outcome is then unknown, and the second arrival is refused. By default an owner may keep up 80
            messages per second; more are refused, because an id that is forgotten early could be replayed.
        seconds: How long an id is remembered; refuse messages older than that by their claims.
    """

    def __init__(self, store: Store | None = None, seconds: float = 600.0) -> None:
        self._store = MemoryStore(capacity=200_000, share=50_000) if store is None else store
        self._seconds = seconds
        self._outcomes: dict[tuple[str, str], tuple[bytes, asyncio.Future[Outcome]]] = {}
        self._due: list[tuple[float, str, str]] = []

    def __len__(self) -> int:
        return len(self._outcomes)

    async def run(
        self, owner: str, key: str, content: bytes, execute: Callable[[], Awaitable[Outcome]]
    ) -> tuple[Outcome, bool]:
        """The outcome of a message, and whether this call executed it.

        An execution goes on when its first caller leaves, so that leaving never makes room for a second one.

        Args:
            owner: Whose message it is, as authenticated.
            key: Its id.
            content: Digest of its content.
            execute: Called at most once per owner and key.

        Raises:
            RefusedError: If the id was used for another content or by an earlier process, or the store is full or down.
        """
        future, first = self.reserve(owner, key, content)
        if first:
            task = asyncio.ensure_future(execute())
            task.add_done_callback(lambda done: settle(future, done))
        return await asyncio.shield(future), first

    def reserve(self, owner: str, key: str, content: bytes) -> tuple[asyncio.Future[Outcome], bool]:
        """The future outcome of a message, and whether the caller must execute the message and settle the future.

        Raises:
            RefusedError: As :meth:`run`.
        """
        if not key:
            raise RefusedError("the message has no id; give each message one of its own")
        now = self._store.clock()
        while self._due and self._due[0][0] <= now:
            _, *old = heapq.heappop(self._due)
            self._outcomes.pop((old[0], old[1]), None)
        known = self._outcomes.get((owner, key))
        if known is not None:
            if known[0] != content:
                raise RefusedError(
                    f"the id {key[:80]!r} was used for another message; give each message one of its own"
                )
            return known[1], False
        if not self._store.add(owner, key, self._seconds):
            raise RefusedError(f"the message {key[:80]!r} was executed before")
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting
        self._outcomes[owner, key] = (content, future)
        heapq.heappush(self._due, (now + self._seconds, owner, key))
        return future, True


def settle(future: asyncio.Future[Outcome], done: asyncio.Future[Outcome]) -> None:
    """Give a future the result or error of another one."""
    if future.done():
        return
    if done.cancelled():
        future.set_exception(RefusedError("the execution was cancelled"))
    elif (error := done.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())
