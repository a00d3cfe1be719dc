"""Pins: what a server offered when it was first trusted, by URL and name; a change is refused until it is reviewed.

Servers are known by URL, never by the name they give themselves: a server that takes another's name stays apart. A pin
covers what a server *says* of a tool (description and schemas). No client can see from outside that the code behind an
unchanged description was replaced.
"""

from __future__ import annotations

from typing import Any

from agentcomm.protocols.defenses.canonical import canonical, digest
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.origins import origin
from agentcomm.protocols.defenses.store import MemoryStore, Store

FOREVER = 10.0 * 365 * 86400  # seconds


class Pins:
    """Remembers digests by server URL and name.

    Args:
        store: Where; a file survives a restart, without which every start is a first use.
        first_use: Whether an unknown name is pinned when first seen; else it is refused.
    """

    def __init__(self, store: Store | None = None, first_use: bool = True) -> None:
        self._store = MemoryStore(share=1000) if store is None else store
        self._first_use = first_use

    def set(self, url: str, name: str, description: Any) -> None:
        """Pin a reviewed description (a JSON value), whatever was pinned before."""
        value = digest(canonical(description))
        self._store.update(_server(url), name, lambda _: value, FOREVER)

    def check(self, url: str, name: str, description: Any) -> None:
        """Compare a description (a JSON value) with its pin.

        Raises:
            RefusedError: If it changed, or is unknown and must not be pinned on first use.
        """
        now = digest(canonical(description))

        def change(old: bytes | None) -> bytes:
            if old is None and not self._first_use:
                raise RefusedError(f"{name[:80]!r} of {url} was never reviewed; pin it with Pins.set")
            if old is not None and old != now:
                raise RefusedError(f"{name[:80]!r} of {url} changed since it was pinned; review it, then Pins.set")
            return now

        self._store.update(_server(url), name, change, FOREVER)


class Versions:
    """Remembers the newest protocol version of each server, and refuses older ones.

    Args:
        least: Oldest version accepted at all; versions compare as text, which suits dates.
        store: Where; a file survives a restart.
    """

    def __init__(self, least: str, store: Store | None = None) -> None:
        self._least = least
        self._store = MemoryStore() if store is None else store

    def check(self, url: str, version: str) -> None:
        """Accept a version, and remember it.

        Raises:
            RefusedError: If it is older than ``least`` or than one that the server spoke before.
        """

        def change(old: bytes | None) -> bytes:
            least = max(self._least, "" if old is None else old.decode())
            if version < least:
                raise RefusedError(f"{url} speaks {version}, but spoke or must speak {least}: somebody may hide it")
            return version.encode()

        self._store.update(_server(url), "version", change, FOREVER)


def _server(url: str) -> str:
    """Name of a server: origin and path."""
    return origin(url) + "/" + url.split("://", 1)[1].partition("/")[2].split("?")[0].rstrip("/")
