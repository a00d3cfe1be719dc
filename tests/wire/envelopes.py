"""Envelopes of every kind and their bytes, for tests of the wire and of seals."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st

from agentcomm.base.errors import MessageError
from agentcomm.wire.encoding import decode
from agentcomm.wire.envelope import MAX_PAYLOAD, MAX_SEAL, Envelope

U8, U16, U32 = 0xFF, 0xFFFF, 0xFFFF_FFFF
FIELDS = ["version", "sent_round", "sender", "audience", "sequence", "sent_at", "expiry", "hops"]
FIELDS += ["codec", "key", "payload", "seal"]
REASONS = ["too long", "truncated", "trailing bytes", "malformed", "wrong type", "out of range"]
REASONS += ["unknown version", "unknown codec", "not canonical"]
CODECS = ("float32", "q8", "x" * 31)
# Where MessagePack takes one byte more, the ends, and one beyond.
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x1_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)


def numbers(top: int) -> st.SearchStrategy[int]:
    """Integers up to ``top``, often at an edge."""
    return st.sampled_from([e for e in EDGES if e <= top]) | st.integers(0, top)


def payloads() -> st.SearchStrategy[bytes]:
    """Payloads, most of them short; some at an edge of length."""
    edges = [0, 1, 31, 32, 255, 256, MAX_PAYLOAD - 1, MAX_PAYLOAD]
    return st.binary(max_size=300) | st.sampled_from(edges).map(lambda n: b"\xa5" * n)


def envelopes() -> st.SearchStrategy[Envelope]:
    """Any envelope."""
    return st.builds(
        Envelope,
        sent_round=numbers(U8),
        sender=numbers(U16),
        audience=numbers(U16),
        sequence=numbers(U32),
        sent_at=numbers(U32),
        expiry=numbers(U32),
        hops=numbers(U8),
        codec=st.sampled_from(CODECS),
        key=st.none() | numbers(U16),
        payload=payloads(),
        seal=st.binary(max_size=MAX_SEAL),
    )


def envelope(**changed: Any) -> Envelope:
    """One envelope of a team of five, with some fields changed."""
    fields = {
        "sent_round": 1,
        "sender": 3,
        "audience": 4,
        "sequence": 300,
        "sent_at": 150,
        "expiry": 152,
        "hops": 2,
        "payload": bytes(range(256)),
    }
    return Envelope(**(fields | changed))


def pieces(e: Envelope) -> list[bytes]:
    """The encodings of the fields, one by one."""
    return [msgspec.msgpack.encode(getattr(e, field)) for field in FIELDS]


def message(changed: dict[str, bytes] | None = None) -> bytes:
    """The bytes of one envelope with some fields' encodings replaced."""
    known = dict(zip(FIELDS, pieces(envelope()), strict=True))
    return b"\x9c" + b"".join((known | (changed or {})).values())


def refused(data: bytes) -> str:
    """Why these bytes are refused."""
    with pytest.raises(MessageError) as caught:
        decode(data)
    text = str(caught.value)
    assert text.partition(": ")[0] in REASONS, text
    assert len(text) < 200
    return text
