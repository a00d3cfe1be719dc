"""A protected MCP server, and a client that protects itself, in a line each.

``app = protect_mcp(server)`` instead of ``server.streamable_http_app()``
``async with protected_client(url, pins) as client:`` instead of ``async with Client(url) as client:``
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from mcp.server import MCPServer

from agentcomm.protocols.carrier import Application
from agentcomm.protocols.defenses.asgi import LOCAL, protect
from agentcomm.protocols.defenses.limits import Quota
from agentcomm.protocols.defenses.mcp_approvals import OneTimeApprovals
from agentcomm.protocols.defenses.mcp_connections import connected, private_cache
from agentcomm.protocols.defenses.mcp_pins import PinnedTools
from agentcomm.protocols.defenses.mcp_resumption import SessionEvents
from agentcomm.protocols.defenses.pins import Pins, Versions


def protect_mcp(
    server: MCPServer[Any], hosts: Collection[str] = LOCAL, quota: Quota | None = None, **options: Any
) -> Application:
    """The Streamable HTTP application of a server, with every defense that needs nothing of the client.

    Streams can be resumed by their own session only, approvals count once, and requests are limited in size, depth,
    rate and origin. Give the server a ``token_verifier``: without one, whoever learns a session's id may use it.

    Args:
        server: The server.
        hosts: Names under which it is reached.
        quota: Rate and number of requests of one caller; :class:`Quota`'s defaults if None.
        options: Arguments of ``streamable_http_app``.
    """
    server.middleware.append(OneTimeApprovals())
    events = SessionEvents()
    return protect(events.guard(server.streamable_http_app(event_store=events, **options)), hosts, quota=quota)


@asynccontextmanager
async def protected_client(
    url: str, pins: Pins, versions: Versions | None = None, principal: str = "", transport: Any = None, **options: Any
) -> AsyncIterator[PinnedTools]:
    """A client whose tools are pinned, that speaks no older protocol, and whose cache is short and its own.

    Args:
        url: The server's URL.
        pins: What its tools were when they were first trusted; keep them in a file
            (:class:`~agentcomm.protocols.defenses.store.SQLiteStore`).
        versions: What servers spoke before; without it, the newest version is the only one.
        principal: Whose credential the client uses.
        transport: A transport with that credential, if there is one.
        options: Further arguments of ``mcp.Client``.

    Raises:
        RefusedError: If the server offers an older protocol, or a tool changed.
    """
    cache = private_cache(principal, url)
    async with connected(url, versions, transport, cache=cache, **options) as client:
        yield PinnedTools(client, url, pins)
