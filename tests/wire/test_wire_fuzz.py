"""Bytes that nobody meant as a message: refused with MessageError or read, in little time and memory.

``python -m benchmarks.fuzz_wire`` does the same with a million inputs and more.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import msgspec
import pytest
from envelopes import CODECS, EDGES, FIELDS, REASONS, envelopes, message, pieces, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcomm.base.errors import MessageError
from agentcomm.wire.encoding import MAX_BYTES, decode, encode
from agentcomm.wire.envelope import Envelope


def accepted_or_refused(data: bytes) -> None:
    """Nothing but MessageError, and what is accepted is the one encoding of what it says."""
    try:
        found = decode(data, CODECS)
    except MessageError as error:
        reason = str(error).partition(": ")[0]
    else:
        assert encode(found) == data
        return
    assert reason in REASONS


@given(st.binary(max_size=400))
@settings(max_examples=1500, deadline=None)
def test_random_bytes(data: bytes) -> None:
    accepted_or_refused(data)
    accepted_or_refused(b"\x9c\x01" + data)


def flip(data: bytes, other: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (other[0] or 1)]) + data[at + 1 :]


def cut(data: bytes, other: bytes, at: int) -> bytes:
    return data[:at] + data[at + other[0] + 1 :]


def insert(data: bytes, other: bytes, at: int) -> bytes:
    return data[:at] + other + data[at:]


def splice(data: bytes, other: bytes, at: int) -> bytes:
    return data[:at] + other[at:]


def append(data: bytes, other: bytes, at: int) -> bytes:
    return data + other


@given(
    one=envelopes(),
    two=envelopes().map(encode) | st.binary(min_size=1, max_size=20),
    changes=st.lists(st.sampled_from([flip, cut, insert, splice, append]), min_size=1, max_size=3),
    at=st.integers(0, 60) | st.integers(0, 400),
)
@settings(max_examples=2000, deadline=None)
def test_mutated_bytes(one: Envelope, two: bytes, changes: list[Callable[[bytes, bytes, int], bytes]], at: int) -> None:
    data = encode(one)
    for change in changes:
        data = change(data, two, at % len(data)) or b"\0"
    accepted_or_refused(data)


@given(
    start=envelopes(),
    field=st.sampled_from(FIELDS),
    value=st.sampled_from([*EDGES, -1, -33, 2**63, 1.0, True, None, "float32", "", b"", [], {}])
    | st.integers(0, 2**64 - 1),
)
@settings(max_examples=1000, deadline=None)
def test_changed_fields(start: Envelope, field: str, value: object) -> None:
    known = dict(zip(FIELDS, pieces(start), strict=True)) | {field: msgspec.msgpack.encode(value)}
    accepted_or_refused(b"\x9c" + b"".join(known.values()))


GIANT = bytes.fromhex("ffffffff")
ADVERSARIAL = {
    "array": b"\xdd" + GIANT,
    "map": b"\xdf" + GIANT,
    "text": b"\xdb" + GIANT,
    "bytes": b"\xc6" + GIANT,
    "ext": b"\xc9" + GIANT + b"\1",
    "payload of 4 GiB": message({"payload": b"\xc6" + GIANT}),
    "codec of 4 GiB": message({"codec": b"\xdb" + GIANT}),
    "seal is an array of 4 G": message({"seal": b"\xdd" + GIANT}),
    "nested arrays": b"\x91" * MAX_BYTES,
    "nested in a field": message({"seal": b"\x91" * 60_000}),
    "nested maps": b"\x81\x01" * (MAX_BYTES // 2),
    "a long array": b"\xdc\xff\xff" + b"\1" * (MAX_BYTES - 3),
    "a long codec": message({"codec": msgspec.msgpack.encode("\N{SNOWMAN}" * 20_000)}),
    "zeros": bytes(MAX_BYTES),
    "beyond the limit": b"\x9c" + b"\xff" * 2**20,
}


@pytest.mark.parametrize("data", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_memory_and_time_are_bounded(data: bytes) -> None:
    refused(data)
    began = time.thread_time()
    tracemalloc.start()
    try:
        with pytest.raises(MessageError):
            decode(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MAX_BYTES
    assert time.thread_time() - began < 0.1, "seconds; a refusal takes microseconds"
