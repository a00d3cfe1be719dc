"""Server-sent events (WHATWG HTML, section 9.2): a stream of bytes cut at the ends of events.

A chunk of a stream is whatever the network delivers at once: part of an event, or several. An attacker who edits chunks
misses what straddles two of them, so everything here works on whole events.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from agentcomm.base.errors import MessageError

MAX_EVENT = 4 * 1024 * 1024  # bytes of one event; a stream without ends may not fill the memory
_LINE = re.compile(rb"\r\n|\n|\r")
# A blank line. The CR after a LF may be half of a CRLF, which only the next byte tells; two CRs end an event at once,
# and a LF behind them belongs to the second.
_END = re.compile(rb"\r\r|(?:\r\n|\n)(?:\r\n|\n|\r(?=[^\n]))")


@dataclass(frozen=True)
class Frame:
    """One event of a stream.

    Attributes:
        raw: Its bytes, including the blank line at its end.
    """

    raw: bytes

    @property
    def data(self) -> bytes | None:
        """What its ``data`` fields carry, joined by newlines; None if it has none, such as a comment."""
        lines = [line for line in _LINE.split(self.raw) if line == b"data" or line.startswith(b"data:")]
        if not lines:
            return None
        return b"\n".join(line[5:].removeprefix(b" ") for line in lines)

    def with_data(self, data: bytes) -> Frame:
        """The event with other data, and its other fields as they are."""
        kept = [line for line in _LINE.split(self.raw) if line and not (line == b"data" or line.startswith(b"data:"))]
        lines = [*kept, *(b"data: " + line for line in _LINE.split(data))]
        return Frame(b"\n".join(lines) + b"\n\n")


class Cutter:
    """Cuts a stream into events, whatever chunks it comes in.

    Args:
        limit: Most bytes of one event.
    """

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer that hold no end
        self._half = False  # whether the last event ended in two CRs, of which the second may be half of a CRLF
        self._limit = limit

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """The events that a chunk completes.

        Raises:
            MessageError: If an event is longer than the limit.
        """
        self._buffer += chunk
        self._skip_half()
        while found := _END.search(self._buffer, max(0, self._searched - 4)):
            raw = bytes(self._buffer[: found.end()])
            del self._buffer[: found.end()]
            self._searched, self._half = 0, raw.endswith(b"\r\r")
            self._skip_half()
            self._check(len(raw))
            yield Frame(raw)
        self._searched = len(self._buffer)
        self._check(len(self._buffer))

    def _skip_half(self) -> None:
        if self._half and self._buffer:
            self._half = False
            if self._buffer.startswith(b"\n"):
                del self._buffer[:1]

    def rest(self) -> Iterator[Frame]:
        """What is left at the end of the stream, such as an event without its blank line."""
        if self._buffer:
            raw = bytes(self._buffer)
            self._buffer.clear()
            yield Frame(raw)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise MessageError(f"an event of the stream has more than {self._limit} bytes")
