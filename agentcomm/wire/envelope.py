"""Envelope: one message as an object, with the same fields as a slot of ``Traffic``."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from agentcomm.base.errors import MessageError

VERSION: Final = 1
PLAIN = "float32"  # the codec that sends float32 numbers uncompressed
MAX_CODEC = 31  # characters of a codec's name
MAX_PAYLOAD = 0xFF00  # bytes; the largest envelope still fits 64 KiB
MAX_SEAL = 64  # bytes of an Ed25519 signature, the longest seal

U8 = Annotated[int, Field(ge=0, le=0xFF)]
U16 = Annotated[int, Field(ge=0, le=0xFFFF)]
U32 = Annotated[int, Field(ge=0, le=0xFFFF_FFFF)]


class Envelope(BaseModel):
    """One message. A value out of range raises pydantic's ValidationError with the field, the value and its range.

    Fields are checked one by one. Inconsistent fields (an expiry before the message was sent, an unknown sender) are
    valid, because an attacker can write them; detecting them is up to the receiver's defenses.

    Attributes:
        version: Of this layout; there is one.
        sent_round: Exchange within the step.
        sender: Claimed sender; N, the number of agents, stands for a newcomer.
        audience: The intended receiver.
        sequence: Sequence number of the sender in this episode.
        sent_at: Step of the episode.
        expiry: Last step at which it counts as fresh.
        hops: How often it may still be forwarded. It changes in transit, so seals do not cover it.
        codec: Name of the codec that encoded the payload.
        key: Id of the key that the seal names; None for none.
        payload: The encoded payload.
        seal: Tag over all fields except ``hops``; empty for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = VERSION
    sent_round: U8
    sender: U16
    audience: U16
    sequence: U32
    sent_at: U32
    expiry: U32
    hops: U8
    codec: Annotated[str, Field(max_length=MAX_CODEC, pattern=r"^[a-z][a-z0-9_]*$")] = PLAIN
    key: U16 | None = None
    payload: Annotated[bytes, Field(max_length=MAX_PAYLOAD)]
    seal: Annotated[bytes, Field(max_length=MAX_SEAL)] = b""


def pack_floats(values: NDArray[np.float32]) -> bytes:
    """The plain payload [D]: float32 in network byte order. -0.0 becomes 0.0, since symbolic seals treat them as equal.

    Raises:
        MessageError: If the values are not a vector of finite float32 numbers.
    """
    if values.ndim != 1:
        raise MessageError(f"payload has shape {values.shape}; it must be a vector [D]")
    with np.errstate(over="ignore"):
        numbers = values.astype(">f4") + np.float32(0.0)
    _check_finite(numbers)
    return numbers.astype(">f4").tobytes()


def unpack_floats(payload: bytes) -> NDArray[np.float32]:
    """The vector [D] in a plain payload.

    Raises:
        MessageError: If the bytes are not whole float32 numbers, or some are not finite.
    """
    if len(payload) % 4:
        raise MessageError(f"payload has {len(payload)} bytes; float32 numbers take a multiple of 4")
    numbers = np.frombuffer(payload, dtype=">f4").astype(np.float32)
    _check_finite(numbers)
    return numbers


def _check_finite(numbers: NDArray[np.float32]) -> None:
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        raise MessageError(f"payload[{bad[0]}] is {numbers[bad[0]]}; it must be finite in float32")
