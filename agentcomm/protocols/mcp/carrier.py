"""Carries bytes over MCP: as the base64 argument of a tool named ``deliver``, whose result is the answer."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import anyio
import httpx2
from mcp import Client
from mcp.client.extension import ClientExtension
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError

from agentcomm.base.errors import AgentcommError, MessageError, ProtocolError
from agentcomm.protocols.carrier import MAX_DATA, TIMEOUT, Application, Carrier, Handle, Protocol, Sender
from agentcomm.protocols.defenses.asgi import bounded
from agentcomm.protocols.failures import failure

VERSION = "2026-07-28"  # of the protocol; stateless
TOOL = "deliver"
BROKEN = (MCPError, httpx2.HTTPError, anyio.ClosedResourceError, anyio.BrokenResourceError)  # ends a connection


@dataclass(frozen=True)
class MCPCarrier(Carrier):
    """Carries bytes as the argument ``envelope`` of the tool ``deliver``, over Streamable HTTP.

    Attributes:
        extensions: Of clients.
        headers: HTTP headers of clients, such as credentials.
        server: Arguments of the SDK's server, such as ``middleware``.
        middleware: Of the ASGI application: each takes one and returns one; the first is the innermost. By default it
            limits the length of requests, and the time they take to arrive.
        meta: Makes the ``_meta`` of a call from its bytes, such as a signature; None for none.
        mode: Version of the protocol that clients insist on.
        timeout: Seconds that a client waits for an answer.
    """

    protocol: ClassVar[Protocol] = "mcp"

    extensions: Sequence[ClientExtension] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    server: Mapping[str, Any] = field(default_factory=dict)
    middleware: Sequence[Callable[[Application], Application]] = (bounded,)
    meta: Callable[[bytes], dict[str, Any]] | None = None
    mode: str = VERSION
    timeout: float = TIMEOUT

    def application(self, name: str, handle: Handle, url: str) -> Application:
        """The server of one agent, with the endpoint ``/mcp``."""
        server = MCPServer(name, log_level="CRITICAL", **self.server)

        @server.tool(name=TOOL, description="Takes an envelope in base64, and answers with one.")
        async def deliver(envelope: str) -> str:
            try:
                return _text(await handle(_bytes(envelope)))
            except MessageError as error:
                raise ToolError(str(error)) from error

        application: Any = server.streamable_http_app(json_response=True)
        for wrap in self.middleware:
            application = wrap(application)
        return application  # type: ignore[no-any-return]

    @asynccontextmanager
    async def connect(self, url: str) -> AsyncIterator[Sender]:
        """A client of the endpoint ``/mcp`` at a URL.

        Raises:
            ProtocolError: If the server cannot be reached.
        """
        async with httpx2.AsyncClient(headers=dict(self.headers), timeout=self.timeout, trust_env=False) as http:
            transport = streamable_http_client(f"{url}/mcp", http_client=http)
            client = Client(transport, mode=self.mode, extensions=self.extensions, cache=None)
            try:
                async with client:
                    yield MCPSender(client, url, self.meta, self.timeout)
            except BaseExceptionGroup as group:  # of the SDK's tasks, which end all calls if a connection fails
                if (told := _first(group, AgentcommError)) is not None:  # raised by the block itself
                    raise told from group
                if (failed := _first(group, BROKEN)) is not None:
                    raise ProtocolError(f"MCP agent at {url}: {failure(failed, self.timeout)}") from group
                raise
            except BROKEN as error:
                raise ProtocolError(f"MCP agent at {url}: {failure(error, self.timeout)}") from error


make = MCPCarrier


class MCPSender(Sender):
    """Sends each request as one call of the tool.

    Args:
        client: The SDK's client.
        url: Of the agent, for errors.
        meta: Makes the ``_meta`` of a call.
        timeout: Seconds to wait for an answer.
    """

    def __init__(
        self, client: Client, url: str, meta: Callable[[bytes], dict[str, Any]] | None, timeout: float
    ) -> None:
        self._client, self._url, self._meta, self._timeout = client, url, meta, timeout

    async def send(self, data: bytes) -> bytes:
        """Call the tool with the bytes, and return those of its result."""
        meta: Any = None if self._meta is None else self._meta(data)
        try:
            result = await self._client.call_tool(
                TOOL, {"envelope": _text(data)}, read_timeout_seconds=self._timeout, meta=meta
            )
        except (*BROKEN, OSError) as error:  # TimeoutError is an OSError
            raise ProtocolError(f"MCP agent at {self._url}: {failure(error, self._timeout)}") from error
        if result.is_error:
            raise MessageError(" ".join(getattr(part, "text", "") for part in result.content))
        answer = (result.structured_content or {}).get("result")
        if not isinstance(answer, str):
            raise MessageError(f"MCP agent at {self._url} answered with no text; an envelope in base64 was expected")
        return _bytes(answer)


def _first(error: BaseException, kind: type[Exception] | tuple[type[Exception], ...]) -> Exception | None:
    """The first error of some kinds in nested groups; None without one."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := _first(inner, kind))), None)
    return error if isinstance(error, kind) else None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    """The bytes in a text in base64.

    Raises:
        MessageError: If it is none, or too long.
    """
    if len(text) > 4 * (MAX_DATA // 3 + 1):
        raise MessageError(f"too long: {len(text)} characters; at most {MAX_DATA} bytes are read")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MessageError(f"not base64: {error}") from error
