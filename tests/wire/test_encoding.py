"""One message, one encoding; whatever else comes off the wire is refused with the reason."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
import torch
from envelopes import CODECS, EDGES, FIELDS, envelope, envelopes, message, pieces, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcomm.wire.encoding import MAX_BYTES, decode, encode, sizes
from agentcomm.wire.envelope import MAX_PAYLOAD, MAX_SEAL, Envelope


@given(envelopes())
@settings(max_examples=500, deadline=None)
def test_round_trip(e: Envelope) -> None:
    data = encode(e)
    assert decode(data, CODECS) == e
    assert Envelope(**e.model_dump()) == e
    assert data == b"\x9c" + b"".join(pieces(e)), "the fields in order"


def test_known_bytes() -> None:
    """The layout is fixed: whoever changes it raises the version."""
    e = envelope(payload=b"\1\2", key=3, seal=b"\xff")
    expected = "9c 01 01 03 04 cd012c cc96 cc98 02 a7666c6f61743332 03 c4020102 c401ff"
    assert encode(e).hex() == expected.replace(" ", "")
    assert message() == encode(envelope())


def test_the_largest_envelope_fits() -> None:
    top = dict.fromkeys(("sequence", "sent_at", "expiry"), 0xFFFF_FFFF)
    top |= dict.fromkeys(("sender", "audience", "key"), 0xFFFF)
    top |= dict.fromkeys(("sent_round", "hops"), 0xFF)
    e = envelope(**top, codec=CODECS[-1], payload=bytes(MAX_PAYLOAD), seal=bytes(MAX_SEAL))
    assert len(encode(e)) <= MAX_BYTES
    assert decode(encode(e), CODECS) == e


@given(st.lists(envelopes(), min_size=1, max_size=5), st.sampled_from(CODECS))
@settings(max_examples=300, deadline=None)
def test_sizes_are_the_lengths_of_the_bytes(found: list[Envelope], codec: str) -> None:
    found = [e.model_copy(update={"codec": codec}) for e in found]
    fields: dict[str, Any] = {name: torch.tensor([getattr(e, name) for e in found]) for name in FIELDS[1:8]}
    fields["key"] = torch.tensor([-1 if e.key is None else e.key for e in found])
    fields |= {f"{name}_bytes": torch.tensor([len(getattr(e, name)) for e in found]) for name in ("payload", "seal")}
    lengths = sizes(**fields, codec=codec)
    assert lengths.dtype == torch.int64
    assert lengths.tolist() == [len(encode(e)) for e in found]
    alone = sizes(**{name: int(value[0]) for name, value in fields.items()}, codec=codec)
    assert alone.shape == ()
    assert alone.dtype == torch.int64
    assert alone == lengths[0], "plain integers will do, too"


def test_sizes_broadcast() -> None:
    sequence = torch.tensor(EDGES).view(-1, 1)
    sender = torch.tensor([0, 0x80, 0x100])
    found = sizes(
        sent_round=1, sender=sender, audience=4, sequence=sequence, sent_at=150, expiry=152, hops=2, key=-1,
        payload_bytes=256, seal_bytes=0,
    )  # fmt: skip
    expected = [[len(encode(envelope(sender=s, sequence=n))) for s in sender.tolist()] for n in EDGES]
    assert found.tolist() == expected


NOT_CANONICAL = {
    "sent_round": ["cc01", "cd0001", "ce00000001", "cf0000000000000001", "d001", "d10001", "d30000000000000001"],
    "sequence": ["ce0000012c", "d1012c", "d20000012c"],
    "sent_at": ["cd0096", "d10096"],
    "codec": ["d907666c6f61743332", "da0007666c6f61743332", "db00000007666c6f61743332"],
    "payload": ["c500020102", "c6000000020102"],
    "seal": ["c50000", "c600000000"],
}


@pytest.mark.parametrize(("field", "other"), [(f, o) for f, others in NOT_CANONICAL.items() for o in others])
def test_other_spellings_are_refused(field: str, other: str) -> None:
    assert refused(message({field: bytes.fromhex(other)})).startswith("not canonical: ")


@pytest.mark.parametrize("header", ["dc000c", "dd0000000c"])
def test_other_spellings_of_the_array_are_refused(header: str) -> None:
    assert refused(bytes.fromhex(header) + message()[1:]).startswith("not canonical: ")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "value",
    [None, True, 1.5, 7, -1, "text", b"bytes", [], [1], {}, {"a": 1}, msgspec.msgpack.Ext(1, b"x")],
    ids=lambda v: type(v).__name__,
)
def test_the_wrong_type_is_named(field: str, value: object) -> None:
    right = {"codec": str, "payload": bytes, "seal": bytes}.get(field, int)
    if type(value) is not right and (field, value) != ("key", None):
        text = refused(message({field: msgspec.msgpack.encode(value)}))
        assert re.match(rf"wrong type: Expected .* at {field}$", text)


@pytest.mark.parametrize("field", [f for f in FIELDS if f not in ("codec", "payload", "seal")])
@pytest.mark.parametrize("value", [-1, -(2**63), 0x1_0000_0000, 2**63, 2**64 - 1])
def test_numbers_out_of_range_are_named(field: str, value: int) -> None:
    text = refused(message({field: msgspec.msgpack.encode(value)}))
    assert text.startswith("unknown version" if field == "version" else f"out of range: {field} is {value}; ")


@pytest.mark.parametrize(("field", "length"), [("payload", MAX_PAYLOAD + 1), ("seal", MAX_SEAL + 1)])
def test_bytes_out_of_range_are_named(field: str, length: int) -> None:
    data = message({"payload": b"\xc4\x00"} | {field: msgspec.msgpack.encode(bytes(length))})
    assert refused(data).startswith(f"out of range: {field} is {length} bytes; ")


def test_other_faults_are_named() -> None:
    data = message()
    assert refused(bytes(MAX_BYTES + 1)) == f"too long: {MAX_BYTES + 1} bytes; at most {MAX_BYTES} are read"
    assert refused(data + b"\0").startswith("trailing bytes: ")
    assert refused(b"\xc1").startswith("malformed: ")
    assert refused(b"\x9b" + data[1:]).startswith("wrong type: ")
    assert refused(b"\x9d" + data[1:] + b"\0").startswith("wrong type: ")
    assert refused(message({"version": b"\2"})) == "unknown version: 2; this reads version 1"
    assert refused(encode(envelope(codec="q8"))) == "unknown codec: 'q8'; known: float32"
    assert decode(encode(envelope(codec="q8")), {"float32", "q8"}).codec == "q8"
    assert refused(message({"codec": b"\xa2\xff\xff"})) == "wrong type: codec is not UTF-8 text"
    assert refused(message({"codec": msgspec.msgpack.encode("x" * 60_000)})).startswith("unknown codec: ")


def test_no_prefix_is_a_message() -> None:
    data = message()
    for end in range(len(data)):
        assert refused(data[:end]).startswith("truncated: ")
