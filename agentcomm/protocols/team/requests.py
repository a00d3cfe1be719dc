"""What the environment's process asks of an agent's process, and what it answers, as bytes.

Requests are signed by the environment (Ed25519), so that nobody else makes an agent act; agents refuse those of an
episode or a step that they have seen. Messages between agents are envelopes, with seals, and no requests.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
import torch
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from torch import Tensor

from agentcomm.base.errors import MessageError

DOMAIN = b"agentcomm/request"  # domain separation: these signatures are valid for requests only
SIGNED = 0x92  # first byte of a signed request: an array of two; an envelope is one of twelve


class Begin(msgspec.Struct, frozen=True, tag="begin", forbid_unknown_fields=True):
    """An episode begins.

    Attributes:
        audience: The agent.
        episode: Its number, larger than that of every earlier one.
        decisions: Seed with which the team samples decisions; None for greedy ones.
        urls: Where each agent is served.
        keys: Public key of each agent, 32 bytes.
    """

    audience: int
    episode: int
    decisions: int | None
    urls: tuple[str, ...]
    keys: tuple[bytes, ...]


class Turn(msgspec.Struct, frozen=True, tag="turn", forbid_unknown_fields=True):
    """An agent is to act.

    Attributes:
        audience: The agent.
        episode: Number of the episode.
        step: Steps since it began.
        observation: [O] of this agent: float32 or int64, little-endian.
        alive: Members that are present; None if members cannot leave.
        allowed: [P] what this agent can do; None for everything.
        joined: Whether the agent has just joined, and remembers nothing.
    """

    audience: int
    episode: int
    step: int
    observation: bytes
    alive: tuple[bool, ...] | None
    allowed: tuple[bool, ...] | None
    joined: bool


class Acted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to a turn.

    Attributes:
        action: The agent's action in the policy's space, little-endian.
        asked: Number of links on which it asked for messages.
        sent: Messages that it sent.
    """

    action: bytes
    asked: int
    sent: int


class _Signed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    body: bytes
    signature: bytes


_encoder = msgspec.msgpack.Encoder()
_signed = msgspec.msgpack.Decoder(_Signed)
_request: msgspec.msgpack.Decoder[Begin | Turn] = msgspec.msgpack.Decoder(Begin | Turn)
_acted = msgspec.msgpack.Decoder(Acted)
T = TypeVar("T")


def sign(request: Begin | Turn, key: Ed25519PrivateKey) -> bytes:
    """The bytes of a request."""
    body = _encoder.encode(request)
    return _encoder.encode(_Signed(body, key.sign(DOMAIN + body)))


def verified(data: bytes, key: Ed25519PublicKey) -> Begin | Turn:
    """The request in some bytes; nothing in it is read before its signature is verified.

    Raises:
        MessageError: If they are none, or somebody else signed it.
    """
    signed = _decoded(_signed, data)
    try:
        key.verify(signed.signature, DOMAIN + signed.body)
    except InvalidSignature as error:
        raise MessageError("refused: the environment has not signed this request") from error
    return _decoded(_request, signed.body)


def answer(acted: Acted) -> bytes:
    """The bytes of an answer."""
    return _encoder.encode(acted)


def answered(data: bytes) -> Acted:
    """The answer in some bytes.

    Raises:
        MessageError: If they are none.
    """
    return _decoded(_acted, data)


def _decoded(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"malformed: {error}") from error


def to_bytes(tensor: Tensor) -> bytes:
    """A tensor's entries."""
    return tensor.contiguous().numpy().tobytes()


def from_bytes(data: bytes, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """A tensor of this type and shape.

    Raises:
        MessageError: If the number of bytes is another.
    """
    expected = torch.Size(shape).numel() * dtype.itemsize
    if len(data) != expected:
        raise MessageError(f"wrong length: {len(data)} bytes; {expected} are expected")
    if not expected:
        return torch.zeros(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)
