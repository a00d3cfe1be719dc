"""The interface of a carrier: it takes the bytes of messages to an agent over an agent protocol, and back its answer.

The bytes are envelopes as :func:`agentcomm.wire.encoding.encode` writes them. A carrier never changes them, so that
seals stay valid, and never reads them: what is in them is up to the agent.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Literal, get_args

from agentcomm.base.errors import PluginError, did_you_mean
from agentcomm.protocols.extras import needs

Protocol = Literal["a2a", "mcp"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

MEDIA_TYPE = "application/vnd.agentcomm.envelope"
MAX_BODY = 4 * 1024 * 1024  # bytes of a request's body, which MCP servers read by default
TIMEOUT = 120.0  # seconds for one call, which takes milliseconds on an idle machine
MAX_DATA = 2 * 1024 * 1024  # bytes that one request carries at most; in base64 they fit the body

Handle = Callable[[bytes], Awaitable[bytes]]
"""What an agent does with the bytes it receives; returns the bytes of its answer."""

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Callable[[], Awaitable[Scope]], Callable[[Scope], Awaitable[None]]], Awaitable[None]]
"""An ASGI application."""


class Sender(ABC):
    """A client that is connected to one agent's server."""

    @abstractmethod
    async def send(self, data: bytes) -> bytes:
        """Send bytes to the agent, and return those of its answer.

        Args:
            data: At most ``MAX_DATA`` bytes.

        Raises:
            MessageError: If the agent refuses them, or its answer carries no bytes.
            ProtocolError: If the server cannot be reached or answers with an error.
        """


class Carrier(ABC):
    """Servers and clients of one protocol that carry bytes.

    Attributes:
        protocol: Its name.
    """

    protocol: ClassVar[Protocol]

    @abstractmethod
    def application(self, name: str, handle: Handle, url: str) -> Application:
        """The server of one agent, to be served at ``url``.

        Args:
            name: Name of the agent, as on its card.
            handle: Called with the bytes of each request; a MessageError that it raises refuses them.
            url: Where it will be served, such as ``http://127.0.0.1:8000``.
        """

    @abstractmethod
    def connect(self, url: str) -> AbstractAsyncContextManager[Sender]:
        """A client of the agent that is served at ``url``; closes its connections at the end."""


def load(protocol: str, **parts: Any) -> Carrier:
    """The carrier of a protocol; imports its SDK.

    Args:
        protocol: Name of the protocol.
        parts: Arguments of the carrier, such as interceptors.

    Raises:
        PluginError: If the protocol is unknown, or its SDK is not installed.
    """
    if protocol not in PROTOCOLS:
        raise PluginError(f"unknown protocol {protocol!r}; {did_you_mean(protocol, PROTOCOLS)}")
    with needs(protocol):
        importlib.import_module("uvicorn")
        module = importlib.import_module(f"agentcomm.protocols.{protocol}.carrier")
    carrier: Carrier = module.make(**parts)
    return carrier
