"""A small MCP system of the official SDK, on loopback: a calculator, its server, and clients that call it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx2
from mcp import Client, ClientSession, MCPError
from mcp.client.session_group import ClientSessionGroup
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer
from starlette.types import ASGIApp

from agentcomm.protocols.attacks.base import ProtocolAttack
from agentcomm.protocols.serving import serve

MODERN, LEGACY = "2026-07-28", "2025-11-25"  # versions of the protocol: stateless, and with sessions
TIMEOUT = 60.0  # seconds; longer than an attack waits for a call, so that it sees what did not end


class Toolbox(Protocol):
    """The tools of several servers, as one agent uses them."""

    async def call(self, url: str, name: str, arguments: dict[str, Any]) -> Any:
        """Call the tool ``name`` that the caller believes to be provided by ``url``, and return its result."""


class GroupToolbox:
    """Tools named ``SERVER.TOOL`` by ``ClientSessionGroup``, where ``SERVER`` is what a server calls itself.

    Servers that the SDK refuses, because a name is taken, are left out, as an agent does that starts with what it has.
    """

    def __init__(self, group: ClientSessionGroup, names: dict[str, str]) -> None:
        self.group, self.names = group, names

    async def call(self, url: str, name: str, arguments: dict[str, Any]) -> Any:
        """Call a tool by the name of its server."""
        return await self.group.call_tool(f"{self.names[url]}.{name}", arguments)


@contextlib.asynccontextmanager
async def group(parts: MCPParts, servers: Sequence[tuple[str, str]], user: str) -> AsyncIterator[Toolbox]:
    """The tools of several servers as the SDK merges them.

    Args:
        parts: Parts, changed by defenses.
        servers: (URL, name by which the user knows it) of each, in the order in which the agent connects to them.
        user: Principal, sent as a bearer token; empty for an anonymous caller.
    """
    async with (
        contextlib.AsyncExitStack() as stack,
        ClientSessionGroup(component_name_hook=lambda tool, info: f"{info.name}.{tool}") as made,
    ):
        for url, _ in servers:
            with contextlib.suppress(MCPError):
                transport = await stack.enter_async_context(reaching(parts, url, user))
                read, write = await stack.enter_async_context(transport)
                session = await stack.enter_async_context(ClientSession(read, write))
                await made.connect_with_session((await session.initialize()).server_info, session)
        yield GroupToolbox(made, dict(servers))


@dataclass
class MCPParts:
    """Parts of servers and clients, which defenses change before they are put together.

    Attributes:
        server_options: Keyword arguments of ``MCPServer``; ``middleware`` and ``extensions`` are lists.
        outermost: Middleware of the server that comes before the SDK's own, such as its seal of requestState.
        app_options: Keyword arguments of ``MCPServer.streamable_http_app``.
        middleware: ASGI middleware of the server; the last is the outermost.
        client_options: Keyword arguments of ``Client``, such as ``mode`` and ``cache``.
        http: Wrappers around a client's HTTP transport; given the transport and the principal's name.
        transports: Wrappers around a client's MCP transport; given the transport and the principal's name.
        wrap_client: Wrappers around the client that callers use; given the client, the server's URL and the
            principal's name. The last is the outermost.
        toolbox: Merges the tools of several servers; given these parts.
    """

    server_options: dict[str, Any] = field(
        default_factory=lambda: {"middleware": [], "extensions": [], "log_level": "CRITICAL"}
    )
    outermost: list[Any] = field(default_factory=list)
    app_options: dict[str, Any] = field(default_factory=dict)
    middleware: list[Callable[[ASGIApp], ASGIApp]] = field(default_factory=list)
    client_options: dict[str, Any] = field(default_factory=dict)
    http: list[Callable[[httpx2.AsyncBaseTransport, str], httpx2.AsyncBaseTransport]] = field(default_factory=list)
    transports: list[Callable[[Any, str], Any]] = field(default_factory=list)
    wrap_client: list[Callable[[Any, str, str], Awaitable[Any]]] = field(default_factory=list)
    toolbox: Callable[[MCPParts, Sequence[tuple[str, str]], str], AbstractAsyncContextManager[Toolbox]] = group


class MCPAttack(ProtocolAttack[MCPParts]):
    """An attack on MCP; most attack the SDK's defaults."""

    protocol = "mcp"

    def parts(self) -> MCPParts:
        """The undefended parts; the SDK's defaults unless an attack is about something else."""
        return MCPParts()


@dataclass
class MCPServed:
    """A running server.

    Attributes:
        url: Its URL, without the path ``/mcp``.
        server: The SDK's server.
        calls: Arguments of every call of a tool.
    """

    url: str
    server: MCPServer[Any]
    calls: list[Any]


def built(parts: MCPParts, name: str) -> MCPServer[Any]:
    """A server without tools."""
    made: MCPServer[Any] = MCPServer(name, **parts.server_options)
    made.middleware[:0] = parts.outermost
    return made


def calculator(
    parts: MCPParts, name: str = "calc", offset: int = 0, description: str = "Add two integers."
) -> MCPServed:
    """A server, not running yet, whose tool ``add`` adds two integers, and ``offset``, which is 0 if it is honest."""
    made = built(parts, name)
    calls: list[Any] = []

    def add(a: int, b: int) -> int:
        calls.append((a, b))
        return a + b + offset

    made.add_tool(add, name="add", description=description)
    return MCPServed("", made, calls)


@contextlib.asynccontextmanager
async def serving(parts: MCPParts, served: MCPServed | None = None, **options: Any) -> AsyncIterator[MCPServed]:
    """Serve an MCP server on loopback under ``/mcp``.

    Args:
        parts: Parts, changed by defenses.
        served: What to serve; an honest :func:`calculator` when not given.
        options: Keyword arguments of ``streamable_http_app`` that belong to the attack, not to a defense.
    """
    made = served or calculator(parts)

    def build(url: str) -> ASGIApp:
        made.url = url
        app: ASGIApp = made.server.streamable_http_app(**(options | parts.app_options))
        for layer in parts.middleware:
            app = layer(app)
        return app

    async with serve(build):
        yield made


@contextlib.asynccontextmanager
async def reaching(
    parts: MCPParts,
    url: str,
    user: str = "",
    network: Callable[[Any], Any] | None = None,
    wire: Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport] | None = None,
) -> AsyncIterator[Any]:
    """The transport, not open yet, of a client of a server on loopback; arguments as of :func:`client`."""
    http: httpx2.AsyncBaseTransport = httpx2.AsyncHTTPTransport()
    if wire is not None:
        http = wire(http)
    for wrap in parts.http:
        http = wrap(http, user)
    headers = {"Authorization": f"Bearer {user}"} if user else {}
    async with httpx2.AsyncClient(transport=http, timeout=TIMEOUT, headers=headers) as caller:
        transport: Any = streamable_http_client(f"{url}/mcp", http_client=caller)
        if network is not None:
            transport = network(transport)
        for wrapper in parts.transports:
            transport = wrapper(transport, user)
        yield transport


@contextlib.asynccontextmanager
async def client(
    parts: MCPParts,
    url: str,
    user: str = "",
    network: Callable[[Any], Any] | None = None,
    wire: Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport] | None = None,
    **options: Any,
) -> AsyncIterator[Any]:
    """A client of a server on loopback.

    Args:
        parts: Parts, changed by defenses.
        url: URL of the server, without the path ``/mcp``.
        user: Principal, sent as a bearer token; empty for an anonymous caller.
        network: What an attacker on the path makes of the MCP transport below all defenses.
        wire: What an attacker on the path makes of the HTTP transport below all defenses.
        options: Keyword arguments of ``Client`` that belong to the attack, not to a defense.
    """
    async with (
        reaching(parts, url, user, network, wire) as transport,
        Client(transport, **(options | parts.client_options)) as made,
    ):
        outer: Any = made
        for wrap_client in parts.wrap_client:
            outer = await wrap_client(outer, url, user)
        yield outer


def result_of(result: Any) -> Any:
    """The value that a tool without an output model returned."""
    return (result.structured_content or {}).get("result")
