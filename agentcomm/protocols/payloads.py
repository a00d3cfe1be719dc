"""The testbed's envelopes inside the bodies of agent protocols: where they are, and what an attacker makes of them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from agentcomm.base.errors import MessageError
from agentcomm.protocols.edits import How
from agentcomm.protocols.event import MAX_DEPTH, dumped, parsed
from agentcomm.wire.encoding import MAX_BYTES, decode, encode
from agentcomm.wire.envelope import Envelope, pack_floats, unpack_floats


def change_envelopes(body: bytes, how: How) -> bytes:
    """A body whose envelopes carry another payload, under their old seals.

    The body is an envelope itself, or JSON with envelopes in base64: in A2A's ``raw`` parts, and in arguments and
    results of MCP tools. Anything else is returned as it is.

    Args:
        body: The body.
        how: ``flip`` negates the numbers of the payload, ``zero`` sets them to zero.
    """
    if (changed := _envelope(body, how)) is not None:
        return changed
    data = parsed(body)
    found: list[str] = []

    def change(text: str) -> str:
        new = _text(text, how)
        if new is None:
            return text
        found.append(text)
        return new

    out = on_texts(data, change)
    return dumped(out) if found else body


def on_texts(value: Any, change: Callable[[str], str], depth: int = 0) -> Any:
    """A JSON value with every text in it, but keys, changed; what is nested deeper than ``MAX_DEPTH`` stays."""
    if isinstance(value, str):
        return change(value)
    if depth == MAX_DEPTH:
        return value
    if isinstance(value, dict):
        return {key: on_texts(item, change, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [on_texts(item, change, depth + 1) for item in value]
    return value


def _text(text: str, how: How) -> str | None:
    """A text in base64 with a changed envelope; None if it holds none."""
    if not 16 <= len(text) <= 2 * MAX_BYTES:
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    changed = _envelope(data, how)
    return None if changed is None else base64.b64encode(changed).decode()


def _envelope(data: bytes, how: How) -> bytes | None:
    """The bytes of a changed envelope; None if the bytes are none, or its payload is no vector of numbers."""
    try:
        envelope: Envelope = decode(data)
        numbers = unpack_floats(envelope.payload)
    except MessageError:
        return None
    payload = pack_floats(-numbers if how == "flip" else numbers * 0)
    return encode(envelope.model_copy(update={"payload": payload}))
