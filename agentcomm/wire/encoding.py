"""Canonical encoding of envelopes as bytes, and decoding of untrusted bytes.

The bytes are a MessagePack array of the twelve fields in the order of :class:`Envelope`. Every value has exactly one
encoding, the shortest, so equal envelopes have equal bytes: a sealed message cannot be re-encoded in transit.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import msgspec
import torch
from pydantic import ValidationError
from torch import Tensor

from agentcomm.base.errors import MessageError
from agentcomm.wire.envelope import MAX_CODEC, PLAIN, VERSION, Envelope

MAX_BYTES = 64 * 1024


class _Message(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """The types of the fields; :class:`Envelope` checks their ranges."""

    version: int
    sent_round: int
    sender: int
    audience: int
    sequence: int
    sent_at: int
    expiry: int
    hops: int
    codec: str
    key: int | None
    payload: bytes
    seal: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Message)


def encode(envelope: Envelope) -> bytes:
    """The bytes of an envelope, at most ``MAX_BYTES``."""
    e = envelope
    return _encoder.encode(
        _Message(
            e.version,
            e.sent_round,
            e.sender,
            e.audience,
            e.sequence,
            e.sent_at,
            e.expiry,
            e.hops,
            e.codec,
            e.key,
            e.payload,
            e.seal,
        )
    )


def decode(data: bytes, codecs: Collection[str] = (PLAIN,)) -> Envelope:
    """The envelope that the bytes encode; memory and time are bounded by their number.

    Args:
        data: Anything.
        codecs: Names of the codecs that the receiver can unpack.

    Raises:
        MessageError: If the bytes are not the encoding of an envelope with one of these codecs. The text
            starts with the kind of fault, up to a colon.
    """
    if len(data) > MAX_BYTES:
        raise MessageError(f"too long: {len(data)} bytes; at most {MAX_BYTES} are read")
    try:
        message = _decoder.decode(data)
    except UnicodeDecodeError as error:
        raise MessageError("wrong type: codec is not UTF-8 text") from error
    except msgspec.DecodeError as error:
        raise MessageError(_fault(error)) from error
    if message.version != VERSION:
        raise MessageError(f"unknown version: {message.version}; this reads version {VERSION}")
    if message.codec not in codecs:
        name = message.codec[:MAX_CODEC]
        raise MessageError(f"unknown codec: {name!r}; known: {', '.join(sorted(codecs))}")
    if _encoder.encode(message) != data:
        raise MessageError("not canonical: some value could be written shorter")
    try:
        return Envelope.model_validate(message, from_attributes=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        value = first["input"]
        got = f"{len(value)} bytes" if isinstance(value, bytes) else value
        raise MessageError(f"out of range: {first['loc'][0]} is {got}; {first['msg']}") from error


def _fault(error: msgspec.DecodeError) -> str:
    """The error that msgspec reports, with the field's name instead of its number."""
    text = str(error)
    if isinstance(error, msgspec.ValidationError):
        return "wrong type: " + re.sub(r"`\$\[(\d+)\]`", lambda m: _Message.__struct_fields__[int(m[1])], text)
    if "truncated" in text:
        return "truncated: the bytes end within a value"
    if "trailing" in text:
        return "trailing bytes: data follows the message"
    return f"malformed: {text}"


def sizes(
    *,
    sent_round: Tensor | int,
    sender: Tensor | int,
    audience: Tensor | int,
    sequence: Tensor | int,
    sent_at: Tensor | int,
    expiry: Tensor | int,
    hops: Tensor | int,
    key: Tensor | int,
    payload_bytes: Tensor | int,
    seal_bytes: Tensor | int,
    codec: str = PLAIN,
) -> Tensor:
    """``len(encode(envelope))`` of many envelopes, computed from their fields.

    Args:
        sent_round: This and the arguments up to ``hops``: integers of shapes that broadcast, within the fields' ranges.
        sender: See ``sent_round``.
        audience: See ``sent_round``.
        sequence: See ``sent_round``.
        sent_at: See ``sent_round``.
        expiry: See ``sent_round``.
        hops: See ``sent_round``.
        key: Id of the key that the seal names; -1 for none, as in ``Traffic``.
        payload_bytes: Length of the payload.
        seal_bytes: Length of the seal; 0 for none.
        codec: Name of the codec, the same for all.

    Returns:
        int64, the broadcast shape.
    """
    head = 3 + len(codec)  # of the array, the version and the codec's name
    numbers = sum(_int_size(x) for x in (sent_round, sender, audience, sequence, sent_at, expiry, hops, key))
    body = payload_bytes + (2 + (payload_bytes > 0xFF)) + seal_bytes + 2
    return torch.as_tensor(head + numbers + body, dtype=torch.int64)


def _int_size(x: Tensor | int) -> Tensor | int:
    """Bytes of an integer: 1, 2, 3 or 5. A negative integer stands for None, which takes 1 byte."""
    return 1 + (x > 0x7F) + (x > 0xFF) + 2 * (x > 0xFFFF)
