"""Requests of the audit: to one origin, bounded in time and bytes; no redirect is followed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from agentcomm.protocols.audit.target import Caller, Limits, origin
from agentcomm.protocols.extras import needs

if TYPE_CHECKING:
    import httpx


def dig(value: Any, *path: str | int) -> Any:
    """The part of a parsed JSON value at a path, or None: what servers send may have any shape."""
    for step in path:
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    message: Any = None  # the parsed JSON; of a stream, the first JSON-RPC response
    events: tuple[tuple[str, Any], ...] = ()  # id and parsed data of a stream's events
    problem: str = ""  # why nothing could be read, if so
    unreachable: str = ""  # why there was no connection to the server, if so

    @property
    def result(self) -> Any:
        """The result of a JSON-RPC response, or None."""
        return dig(self.message, "result")

    @property
    def code(self) -> int | None:
        """The code of a JSON-RPC error, or None."""
        code = dig(self.message, "error", "code")
        return code if isinstance(code, int) and not isinstance(code, bool) else None

    @property
    def short(self) -> str:
        """The answer in a few words, without anything that the server wrote."""
        if self.problem:
            return self.problem
        what = f"error {self.code}" if self.code is not None else "a result" if self.result is not None else "no result"
        return f"HTTP {self.status}, {what}"

    @property
    def refused(self) -> bool:
        """Whether the server refused the request on purpose: no internal error, overload or redirect."""
        if self.problem or self.result is not None:
            return False
        if self.code is not None:
            return self.code != -32603 and self.status < 500
        return 400 <= self.status < 500 and self.status != 429


class Wire:
    """Sends requests to the origin of one URL."""

    def __init__(self, http: httpx.AsyncClient, url: str, limits: Limits) -> None:
        self.http, self.url, self.limits = http, url, limits
        self.origin = origin(url)
        self.ends = time.monotonic() + limits.total_seconds

    async def post(
        self,
        body: Any,
        caller: Caller,
        headers: Mapping[str, str] = {},
        *,
        url: str | None = None,
    ) -> Answer:
        """Post JSON, or bytes as they are; a stream is read up to its first JSON-RPC response."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content-type": "application/json", "accept": "application/json, text/event-stream", **headers}
        return await self.request("POST", url or self.url, caller, given, content)

    async def request(
        self,
        method: str,
        url: str,
        caller: Caller,
        headers: Mapping[str, str] = {},
        content: bytes = b"",
        *,
        seconds: float | None = None,
    ) -> Answer:
        """Send a request; never raises because of what the server does."""
        with needs("audit"):
            import httpx
        url = urljoin(self.url, url)
        if origin(url) != self.origin:
            return Answer(problem="not sent: the address is of another origin")
        left = self.ends - time.monotonic()
        if left <= 0:
            return Answer(problem="not sent: the audit's time is over")
        allowed = min(seconds or self.limits.seconds, left)
        reader = _Reader(self.limits.read_bytes)
        self.http.cookies.clear()  # a cookie of one caller is not sent for another
        given = {**headers, **caller.headers, "accept-encoding": "identity"}
        try:
            async with (
                asyncio.timeout(allowed),
                self.http.stream(method, url, headers=given, content=content or None) as response,
            ):
                await reader.read(response)
        except TimeoutError:
            reader.problem = f"no complete answer within {allowed:.0f} s"
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            reader.problem, reader.unreachable = f"no answer ({type(error).__name__})", _unreachable(error, self.limits)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            reader.problem = f"no answer ({type(error).__name__})"
        return reader.answer()


class _Reader:
    """Collects one response."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.status, self.headers, self.body = 0, dict[str, str](), bytearray()
        self.streams = False
        self.events: list[tuple[str, Any]] = []
        self.message: Any = None
        self.problem = self.unreachable = ""

    async def read(self, response: Any) -> None:
        self.status, self.headers = response.status_code, dict(response.headers)
        if 300 <= self.status < 400:
            self.problem = f"HTTP {self.status}: a redirect, which is not followed"
            return
        self.streams = self.headers.get("content-type", "").startswith("text/event-stream")
        total = 0
        async for chunk in response.aiter_raw():
            total += len(chunk)
            if total > self.limit:
                self.problem = f"an answer of more than {self.limit} bytes"
                return
            self.body += chunk
            if self.streams and self._cut_events():
                return

    def _cut_events(self) -> bool:
        """Parse the complete events of the buffer. Value: whether one was a JSON-RPC response."""
        text = bytes(self.body)
        for end in (b"\r\n\r\n", b"\r\r"):
            text = text.replace(end, b"\n\n")
        *whole, rest = text.split(b"\n\n")
        self.body = bytearray(rest)
        for event in whole:
            lines = event.decode("utf-8", "replace").replace("\r", "\n").split("\n")
            data = "\n".join(line[5:].removeprefix(" ") for line in lines if line.startswith("data:"))
            name = next((line[3:].strip() for line in lines if line.startswith("id:")), "")
            parsed = _parse(data.encode())
            self.events.append((name, parsed))
            if isinstance(parsed, dict) and ("result" in parsed or "error" in parsed):
                self.message = parsed
        return self.message is not None

    def answer(self) -> Answer:
        """What was read so far."""
        if not self.problem and not self.streams:
            self.message = _parse(bytes(self.body))
        if self.message is not None and self.streams:
            self.problem = ""
        return Answer(self.status, self.headers, self.message, tuple(self.events), self.problem, self.unreachable)


def _unreachable(error: Exception, limits: Limits) -> str:
    """Why there is no connection, in a few words."""
    text = str(error)
    if "attempts failed" in text:  # of all addresses of the name; anyio's text does not say why
        return "connection refused"
    return text or f"no connection within {_connecting(limits):g} s"


def _connecting(limits: Limits) -> float:
    """Seconds for a connection; fewer than for a request, so that it is known which of the two was missing."""
    return limits.seconds / 2


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


@asynccontextmanager
async def connect(url: str, limits: Limits) -> AsyncIterator[Wire]:
    """A wire to the origin of a URL; proxies of the environment are not used.

    Raises:
        PluginError: If the HTTP client is not installed.
    """
    with needs("audit"):
        import httpx
    timeout = httpx.Timeout(limits.seconds, connect=_connecting(limits))
    async with httpx.AsyncClient(trust_env=False, timeout=timeout, follow_redirects=False) as http:
        yield Wire(http, url, limits)
