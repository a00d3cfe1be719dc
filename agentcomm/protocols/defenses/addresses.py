"""Addresses that a server may be told to call: public ones, resolved once and pinned.

A validator that resolves a name and a client that resolves it again see two answers if the owner of the name wants it
so (DNS rebinding). Here the address that was checked is the address that is called.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection
from urllib.parse import urlsplit

from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.origins import origin

Resolver = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system resolves it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def is_public(address: str) -> bool:
    """Whether an address is a public unicast one; an IPv4 address inside an IPv6 one is judged as IPv4."""
    try:
        parsed = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour
        if inner is not None:
            return is_public(str(inner))
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified)


async def pin(url: str, allowed: Collection[str] = (), resolver: Resolver = resolve) -> str:
    """The address to call for a URL.

    Args:
        url: An http or https URL.
        allowed: Origins, as :func:`~agentcomm.protocols.defenses.origins.origin` writes them, that may be private.
        resolver: Finds the addresses of a host; called once.

    Raises:
        RefusedError: If the URL is malformed, its host has no address, or any of its addresses is not public.
    """
    home = origin(url)
    parts = urlsplit(home)
    try:
        found = await resolver(str(parts.hostname), int(parts.port or 0))
    except OSError as error:
        raise RefusedError(f"the host of {home} has no address") from error
    if not found:
        raise RefusedError(f"the host of {home} has no address")
    if home not in allowed and not all(map(is_public, found)):
        raise RefusedError(f"{home} is not a public address")
    return found[0]
