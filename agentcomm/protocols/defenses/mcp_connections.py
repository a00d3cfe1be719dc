"""MCP clients that do not fall back to an older protocol, and whose caches are private and short."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from mcp import Client
from mcp.client.caching import CacheConfig, CacheEntry, CacheKey, InMemoryResponseCacheStore

from agentcomm.protocols.defenses.pins import Versions

NEWEST = "2026-07-28"


@asynccontextmanager
async def connected(
    url: str, versions: Versions | None = None, transport: Any = None, **options: Any
) -> AsyncIterator[Client]:
    """A client of a server that speaks no older version than before.

    Args:
        url: The server's URL.
        versions: What servers spoke before; without it, the newest version is the only one.
        transport: A transport to the server, if not the default one.
        options: Further arguments of ``mcp.Client``.

    Raises:
        RefusedError: If the version is too old.
    """
    mode = NEWEST if versions is None else "auto"
    async with Client(url if transport is None else transport, mode=mode, **options) as client:
        if versions is not None:
            versions.check(url, client.protocol_version)
        yield client


class ShortStore(InMemoryResponseCacheStore):
    """A cache of one principal, whose entries expire soon, whatever lifetime a server gave them.

    Args:
        seconds: Longest lifetime.
        clock: Seconds since the epoch.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.time) -> None:
        super().__init__(max_entries=256)
        self._seconds, self._clock = seconds, clock

    async def set(self, key: CacheKey, entry: CacheEntry) -> None:
        """Keep an entry, but not for long."""
        if entry.expires_at is not None:
            entry = replace(entry, expires_at=min(entry.expires_at, self._clock() + self._seconds))
        await super().set(key, entry)


def private_cache(principal: str, url: str, seconds: float = 5.0) -> CacheConfig | None:
    """The ``cache=`` of a client: of one principal, never shared, and healed of a poisoned entry after ``seconds``.

    Args:
        principal: Whose cache it is, from a verified credential.
        url: The server's URL.
        seconds: Longest lifetime of an entry; 0 for no cache.
    """
    if seconds <= 0:
        return None
    store = ShortStore(seconds)
    return CacheConfig(store=store, partition=principal or "anonymous", target_id=url, share_public=False)
