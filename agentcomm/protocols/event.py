"""What an attacker on the path of an agent protocol sees: requests, responses, events of streams, and cards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from agentcomm.protocols.carrier import Protocol

Direction = Literal["request", "response"]
Kind = Literal["request", "response", "stream", "card", "discovery"]

CARD_PATHS = ("/.well-known/agent-card.json", "/.well-known/agent.json")
CARD_METHODS = frozenset({"GetExtendedAgentCard", "agent/getAuthenticatedExtendedCard"})
DISCOVERY_METHODS = frozenset({"initialize", "server/discover", "tools/list", "resources/list", "prompts/list"})
MAX_DEPTH = 64  # nested values of a body that are looked into


@dataclass(frozen=True)
class Event:
    """One event on the wire.

    A response that the server streams is one event per message in it, whatever chunks it arrives in.

    Attributes:
        protocol: The protocol.
        direction: ``request`` towards the server, ``response`` towards the client.
        kind: What it is. Answers that describe an agent or a server come first: ``card`` for A2A's agent card,
            ``discovery`` for what MCP servers say about themselves and their tools. The rest is ``request``,
            ``response``, or ``stream`` for an event of a streamed response.
        method: JSON-RPC method of the call that it belongs to; ``GET`` for a card that is fetched, empty if unknown.
        body: Its content as bytes, without the framing of a stream.
        number: Its place among the events of its direction that were seen there, from 0.
    """

    protocol: Protocol
    direction: Direction
    kind: Kind
    method: str
    body: bytes
    number: int


def method_of(body: bytes) -> str:
    """The JSON-RPC method that a request's body names; empty if it names none."""
    data = parsed(body)
    method = data.get("method") if isinstance(data, dict) else None
    return method if isinstance(method, str) else ""


def kind_of(direction: Direction, method: str, path: str = "", streamed: bool = False) -> Kind:
    """The kind of an event.

    Args:
        direction: Its direction.
        method: Method of the call.
        path: Path of the HTTP request.
        streamed: Whether it is an event of a streamed response.
    """
    if direction == "request":
        return "request"
    if method in CARD_METHODS or path.endswith(CARD_PATHS):
        return "card"
    if method in DISCOVERY_METHODS:
        return "discovery"
    return "stream" if streamed else "response"


def parsed(body: bytes) -> Any:
    """The JSON value of a body; None if it is none, or nested too deeply for the parser."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def dumped(value: Any) -> bytes:
    """A JSON value as bytes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
