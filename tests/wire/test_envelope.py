"""Every field of an envelope is checked, and float vectors survive the plain payload."""

from __future__ import annotations

import numpy as np
import pytest
from envelopes import envelope
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from pydantic import ValidationError

from agentcomm.base.errors import MessageError
from agentcomm.wire.envelope import MAX_PAYLOAD, MAX_SEAL, Envelope, pack_floats, unpack_floats

TOPS = {
    "sent_round": 0xFF,
    "hops": 0xFF,
    "sender": 0xFFFF,
    "audience": 0xFFFF,
    "key": 0xFFFF,
    "sequence": 0xFFFF_FFFF,
    "sent_at": 0xFFFF_FFFF,
    "expiry": 0xFFFF_FFFF,
}


@pytest.mark.parametrize(("field", "top"), TOPS.items())
def test_numbers_have_ranges_and_the_error_says_which(field: str, top: int) -> None:
    for good in (0, top):
        assert getattr(envelope(**{field: good}), field) == good
    for bad, mend in ((-1, "greater than or equal to 0"), (top + 1, f"less than or equal to {top}")):
        with pytest.raises(ValidationError) as caught:
            envelope(**{field: bad})
        assert all(part in str(caught.value) for part in (field, str(bad), mend))


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("version", 2),
        ("version", 0),
        ("sender", True),
        ("sender", 1.0),
        ("sender", "1"),
        ("sender", None),
        ("codec", ""),
        ("codec", "x" * 32),
        ("codec", "Plain"),
        ("codec", "a\0"),
        ("codec", "plain\n"),
        ("codec", b"plain"),
        ("payload", "text"),
        ("payload", b"x" * (MAX_PAYLOAD + 1)),
        ("seal", b"x" * (MAX_SEAL + 1)),
        ("seal", None),
        ("origin", 1),
    ],
)
def test_anything_else_is_refused(field: str, bad: object) -> None:
    with pytest.raises(ValidationError, match=field):
        envelope(**{field: bad})


def test_fields_must_be_given_and_stay_as_they_are() -> None:
    with pytest.raises(ValidationError, match="expiry"):
        Envelope(sent_round=0, sender=0, audience=0, sequence=0, sent_at=0, hops=0, payload=b"")  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="frozen"):
        envelope().sender = 1  # type: ignore[misc]


finite = npst.arrays(
    np.float32, st.integers(0, 80), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
)


@given(finite)
@settings(deadline=None)
def test_floats_round_trip(values: NDArray[np.float32]) -> None:
    payload = pack_floats(values)
    assert len(payload) == 4 * len(values)
    back = unpack_floats(payload)
    assert back.dtype == np.float32
    assert np.array_equal(back, values)
    assert not np.signbit(back[back == 0]).any(), "the sign of zero says nothing"
    assert pack_floats(back) == payload


def test_floats_are_in_network_byte_order_whatever_they_were() -> None:
    assert pack_floats(np.array([1.0], np.float32)) == bytes.fromhex("3f800000")
    assert pack_floats(np.array([1.0], "<f4")) == bytes.fromhex("3f800000")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_what_is_not_finite_is_not_sent(bad: float) -> None:
    with pytest.raises(MessageError, match=r"payload\[1\] is .*finite"):
        pack_floats(np.array([0.0, bad]))  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", ["7fc00000", "7f800000", "ff800000", "7f800001"])
def test_what_is_not_finite_is_not_read(bad: str) -> None:
    with pytest.raises(MessageError, match=r"payload\[1\] is .*finite"):
        unpack_floats(bytes(4) + bytes.fromhex(bad))


def test_other_shapes_and_lengths_are_refused() -> None:
    with pytest.raises(MessageError, match="vector"):
        pack_floats(np.zeros((2, 2), np.float32))
    with pytest.raises(MessageError, match="5 bytes"):
        unpack_floats(b"12345")
