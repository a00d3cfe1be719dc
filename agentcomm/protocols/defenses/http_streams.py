"""Signed streams: each event of a stream of server-sent events is signed, and so is the stream's end.

The signature is a field of the event that readers who do not know it ignore (WHATWG HTML, section 9.2.6). It covers the
client's nonce, the event's number and its bytes, so no event can be changed, left out, repeated, moved or taken to
another stream; the end is signed as an event of its own, so that a stream that somebody cut is an error.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Iterator

from agentcomm.base.errors import MessageError
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.keys import SignKey, VerifyKey
from agentcomm.protocols.streams import Cutter, Frame

FIELD = b"agentcomm-signature: "
DOMAIN = b"agentcomm/stream/1\0"
END = b": end\n\n"  # a comment, which readers ignore


def _signed_bytes(nonce: str, number: int, raw: bytes) -> bytes:
    return b"".join((DOMAIN, nonce.encode(), b"\0", number.to_bytes(8), raw))


class StreamSigner:
    """Signs the events of one stream.

    Args:
        key: The server's key.
        nonce: The client's nonce.
    """

    def __init__(self, key: SignKey, nonce: str) -> None:
        self._key, self._nonce, self._number, self._cutter = key, nonce, 0, Cutter()

    def feed(self, chunk: bytes, last: bool) -> bytes:
        """What to send for a chunk of the stream: its complete events, signed; with the last chunk, the end as well.

        Raises:
            MessageError: If an event is too long.
        """
        frames = [*self._cutter.feed(chunk), *(self._cutter.rest() if last else ())]
        return b"".join(map(self._signed, (*(frame.raw for frame in frames), *((END,) if last else ()))))

    def _signed(self, raw: bytes) -> bytes:
        signature = base64.b64encode(self._key.sign(_signed_bytes(self._nonce, self._number, raw)))
        self._number += 1
        return FIELD + signature + b"\n" + raw


class SignedStream:
    """The events of a stream, each once its signature has been checked.

    Args:
        stream: The stream of bytes.
        key: The server's key.
        nonce: The nonce that was sent with the request.
    """

    def __init__(self, stream: AsyncIterator[bytes], key: VerifyKey, nonce: str) -> None:
        self._stream, self._key, self._nonce = stream, key, nonce
        self._number, self._ended = 0, False

    async def events(self) -> AsyncIterator[bytes]:
        """The bytes of the events, without the signatures.

        Raises:
            RefusedError: If an event is not the server's, is out of its place or too long, or if the end is missing.
        """
        cutter = Cutter()
        try:
            async for chunk in self._stream:
                for event in self._checked(cutter.feed(chunk)):
                    yield event
            for event in self._checked(cutter.rest()):
                yield event
        except MessageError as error:
            raise RefusedError(str(error)) from error
        if not self._ended:
            raise RefusedError("the stream was cut: its signed end is missing")

    def _checked(self, frames: Iterator[Frame]) -> Iterator[bytes]:
        for frame in frames:
            head, _, raw = frame.raw.partition(b"\n")
            try:
                signature = base64.b64decode(head.removeprefix(FIELD), validate=True)
            except binascii.Error as error:
                raise RefusedError("an event of the stream is not signed") from error
            if self._ended or not head.startswith(FIELD):
                raise RefusedError("an event of the stream is not signed, or comes after the end")
            if not self._key.verify(signature, _signed_bytes(self._nonce, self._number, raw)):
                raise RefusedError("an event of the stream is not the one that was signed, or not in its place")
            self._number += 1
            self._ended = raw == END
            if not self._ended:
                yield raw
