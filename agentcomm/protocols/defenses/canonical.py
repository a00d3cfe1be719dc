"""One byte string per JSON value (RFC 8785), for signatures over messages that peers serialize anew."""

from __future__ import annotations

import hashlib
from typing import Any

from agentcomm.protocols.defenses.errors import RefusedError


def canonical(value: Any) -> bytes:
    """The canonical bytes of a JSON value.

    Raises:
        RefusedError: For a value without one canonical form: NaN, an infinity, an integer from 2**53, a lone surrogate,
            nesting too deep.
    """
    import rfc8785

    try:
        return rfc8785.dumps(value)
    except (ValueError, RecursionError, TypeError) as error:  # its own errors are ValueErrors
        raise RefusedError(f"the message has no canonical form (RFC 8785): {type(error).__name__} {error}") from error


def digest(content: bytes) -> bytes:
    """SHA-256, 32 bytes."""
    return hashlib.sha256(content).digest()
