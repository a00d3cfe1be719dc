"""A server of the attacker's own, on loopback, that records who calls it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from agentcomm.protocols.serving import serve

MAX_CALLS = 1000


@dataclass
class Sink:
    """Calls that a server got.

    Attributes:
        url: Its URL.
        calls: Path and headers of each call.
    """

    url: str = ""
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def credentials(self) -> list[str]:
        """The credentials that were sent here."""
        return [headers["authorization"] for _, headers in self.calls if "authorization" in headers]


@contextlib.asynccontextmanager
async def sink(answer: Any = None) -> AsyncIterator[Sink]:
    """Serve a sink that answers everything with a JSON value."""
    made = Sink()
    body = json.dumps(answer or {}).encode()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if len(made.calls) < MAX_CALLS:
            made.calls.append((scope["path"], headers))
        while (await receive()).get("more_body"):
            pass
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    async with serve(lambda _: app) as url:
        made.url = url
        yield made
