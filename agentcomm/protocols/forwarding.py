"""What a reverse proxy changes in requests and answers that it forwards: headers of the connection, and addresses."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from agentcomm.protocols.event import dumped, parsed
from agentcomm.protocols.payloads import on_texts

Headers = list[tuple[bytes, bytes]]

# Headers of one connection (RFC 9110, section 7.6.1), which are not forwarded. Lengths are those of the forwarded body.
HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade content-length".split()
)


@dataclass(frozen=True)
class Addresses:
    """The proxy and the server that it stands in for.

    Attributes:
        asked: The ``Host`` that the client asked for.
        server: Host and port of the server.
        scheme: Scheme of the server's URL.
        own: Address and port at which the proxy listens.
    """

    asked: str
    server: str
    scheme: str
    own: tuple[str, int]

    @property
    def is_proxy(self) -> bool:
        """Whether the client asked for the proxy by its address; a foreign ``Host`` is the client's own claim."""
        host, port = self.own
        return self.asked.lower() in {f"{name}:{port}" for name in (host, "localhost", f"[{host}]")}

    def through_proxy(self, card: bytes) -> bytes:
        """A card whose URLs at the server lead to the proxy, so that clients stay on the path."""
        data = parsed(card)
        there, here = f"{self.scheme}://{self.server}", f"http://{self.asked}"

        def change(text: str) -> str:
            rest = text.removeprefix(there)
            return here + rest if rest != text and rest[:1] in ("", "/", "?", "#") else text

        changed = on_texts(data, change) if self.is_proxy else data
        return card if changed == data else dumped(changed)


def headers_to_server(headers: Iterable[tuple[bytes, bytes]], addresses: Addresses) -> Headers:
    """A request's headers for the server.

    ``Host`` and ``Origin`` that name the proxy name the server instead; foreign ones are forwarded as they are, so that
    the server's own checks see them. ``Accept-Encoding`` is left out, so that answers can be read.
    """
    given = list(headers)
    out = [pair for pair in _of_the_message(given) if pair[0] != b"accept-encoding"]
    if not addresses.is_proxy:
        return out
    here, there = f"http://{addresses.asked}".encode(), f"{addresses.scheme}://{addresses.server}".encode()
    exchanged = {(b"host", addresses.asked.encode("latin-1")): addresses.server.encode(), (b"origin", here): there}
    return [(name, exchanged.get((name, value), value)) for name, value in out]


def headers_to_client(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """An answer's headers for the client."""
    return _of_the_message([(name.lower(), value) for name, value in headers])


def _of_the_message(headers: Headers) -> Headers:
    """Headers without those of the connection; a header that is given twice stays so."""
    named = {part.strip().lower() for name, value in headers if name == b"connection" for part in value.split(b",")}
    return [(name, value.strip(b" \t")) for name, value in headers if name not in HOP_BY_HOP | named]


@dataclass(frozen=True)
class Answer:
    """An answer to a client.

    Attributes:
        status: HTTP status.
        headers: Headers without a length.
        body: The body; of a stream, what comes first.
        bodiless: Whether this kind of answer has no body, and so no length.
    """

    status: int
    headers: Headers
    body: bytes = b""
    bodiless: bool = False

    async def start(self, send: Callable[[object], Awaitable[None]]) -> None:
        """Send status and headers of a stream."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})

    async def send(self, send: Callable[[object], Awaitable[None]]) -> None:
        """Send all of it."""
        length: Headers = [] if self.bodiless else [(b"content-length", str(len(self.body)).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": [*self.headers, *length]})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def problem(status: int, text: str) -> Answer:
    """An answer of the proxy itself, which says what is wrong."""
    return Answer(
        status,
        [(b"content-type", b"application/json"), (b"x-agentcomm-proxy", b"problem")],
        json.dumps({"error": f"agentcomm proxy: {text}"}).encode(),
    )
