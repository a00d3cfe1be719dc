"""Stores of what defenses must remember: bounded, aged, and atomic.

Everything a defense remembers is an entry of one owner (a sender, a principal, a server) with a time after which it may
be forgotten. There is one operation, an atomic read and write of one entry, because a check that is separate from its
write is a race that concurrent replays win. No entry is dropped before its time: a full store refuses instead, so that
nobody can push out the record of a message in order to replay it. Each owner has a share, so that one owner cannot fill
the store for the others.
"""

from __future__ import annotations

import heapq
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from agentcomm.protocols.defenses.errors import RefusedError, StoreError

Change = Callable[[bytes | None], bytes]  # the present value, None for none, to the new one; may raise RefusedError


class Store(ABC):
    """Remembers entries by owner and key.

    Args:
        capacity: Most entries of all owners together.
        share: Most entries of one owner.
        clock: Seconds since the epoch.
    """

    def __init__(self, capacity: int = 100_000, share: int = 10_000, clock: Callable[[], float] = time.time) -> None:
        self.capacity, self.share, self.clock = capacity, share, clock

    def update(self, owner: str, key: str, change: Change, seconds: float) -> None:
        """Replace one entry by what ``change`` makes of it, atomically, and keep it for ``seconds`` from now.

        Raises:
            RefusedError: What ``change`` raises; the entry stays as it was.
            StoreError: If the store is full or fails in any way.
        """
        try:
            self._update(owner, key, change, self.clock(), seconds)
        except RefusedError:
            raise
        except Exception as error:
            raise StoreError(f"the store of a defense failed ({error}); requests are refused until it works") from error

    def add(self, owner: str, key: str, seconds: float, value: bytes = b"") -> bool:
        """Add an entry; False if there is one already."""
        present = False

        def change(old: bytes | None) -> bytes:
            nonlocal present
            present = old is not None
            return value if old is None else old

        # an entry that is there keeps its time if it lasts longer
        self.update(owner, key, change, seconds)
        return not present

    @abstractmethod
    def _update(self, owner: str, key: str, change: Change, now: float, seconds: float) -> None:
        """Do what :meth:`update` says; may raise anything."""


class MemoryStore(Store):
    """Entries in this process."""

    def __init__(self, capacity: int = 100_000, share: int = 10_000, clock: Callable[[], float] = time.time) -> None:
        super().__init__(capacity, share, clock)
        self._entries: dict[tuple[str, str], tuple[float, bytes]] = {}
        self._held: dict[str, int] = defaultdict(int)
        self._due: list[tuple[float, str, str]] = []  # heap; holds outdated times of entries that were renewed, too
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def _update(self, owner: str, key: str, change: Change, now: float, seconds: float) -> None:
        with self._lock:
            self._forget(now)
            old = self._entries.get((owner, key))
            if old is None and (len(self._entries) >= self.capacity or self._held[owner] >= self.share):
                if not self._held[owner]:
                    del self._held[owner]
                raise StoreError(f"the store has no room for another entry of {owner[:40]!r}; retry later")
            try:
                value = change(None if old is None else old[1])
            except BaseException:
                if old is None and not self._held[owner]:
                    del self._held[owner]
                raise
            until = max(now + seconds, 0.0 if old is None else old[0])
            if old is None:
                self._held[owner] += 1
                heapq.heappush(self._due, (until, owner, key))
            self._entries[owner, key] = (until, value)

    def _forget(self, now: float) -> None:
        """Drop entries whose time is over; renewed ones go back into the heap at their new time."""
        while self._due and self._due[0][0] <= now:
            _, owner, key = heapq.heappop(self._due)
            until, _ = self._entries[owner, key]
            if until > now:
                heapq.heappush(self._due, (until, owner, key))
                continue
            del self._entries[owner, key]
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]


class SQLiteStore(Store):
    """Entries in a file, shared by the processes of one machine, that outlast a restart.

    Args:
        path: The file; created if missing.
        capacity: Most entries of all owners together.
        share: Most entries of one owner.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        path: Path | str,
        capacity: int = 100_000,
        share: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(capacity, share, clock)
        self._lock = threading.Lock()
        self._base = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute(
            "CREATE TABLE IF NOT EXISTS entries "
            "(owner TEXT, key TEXT, until REAL, value BLOB, PRIMARY KEY (owner, key))"
        )
        self._base.execute("CREATE INDEX IF NOT EXISTS due ON entries (until)")

    def close(self) -> None:
        """Close the file; later requests are refused."""
        self._base.close()

    def _update(self, owner: str, key: str, change: Change, now: float, seconds: float) -> None:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")  # takes the write lock before the read
            try:
                self._base.execute("DELETE FROM entries WHERE until <= ?", (now,))
                query = "SELECT until, value FROM entries WHERE owner = ? AND key = ?"
                old = self._base.execute(query, (owner, key)).fetchone()
                if old is None:
                    (held,) = self._base.execute("SELECT count(*) FROM entries WHERE owner = ?", (owner,)).fetchone()
                    (total,) = self._base.execute("SELECT count(*) FROM entries").fetchone()
                    if held >= self.share or total >= self.capacity:
                        raise StoreError(f"the store has no room for another entry of {owner[:40]!r}; retry later")
                value = change(None if old is None else old[1])
                until = max(now + seconds, 0.0 if old is None else old[0])
                self._base.execute("REPLACE INTO entries VALUES (?, ?, ?, ?)", (owner, key, until, value))
                self._base.execute("COMMIT")
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
