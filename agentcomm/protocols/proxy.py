"""A reverse proxy that attacks A2A or MCP between real clients and a real server, as an attacker on the path would.

Every request, response, event of a stream, card and discovery passes through one
:class:`~agentcomm.protocols.onpath.OnPath`. What it does not attack, it forwards as it came. Requests of different
clients share nothing but connections to the server: there is no cookie jar, no cache and no buffer across requests.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2

from agentcomm.base.errors import AgentcommError, MessageError
from agentcomm.protocols.event import CARD_PATHS, method_of
from agentcomm.protocols.forwarding import Addresses, Answer, headers_to_client, headers_to_server, problem
from agentcomm.protocols.onpath import OnPath
from agentcomm.protocols.streams import Cutter, Frame

MAX_BODY = 16 * 1024 * 1024  # bytes of a request, or of a response that is no stream
MAX_REQUESTS = 128  # requests at a time
MAX_COPIES = 64  # duplicates on their way to the server at a time
READ_SECONDS = 30.0  # until a client has sent its request
HOLD_SECONDS = 30.0  # that a client is left waiting for something that was dropped
ANSWER_SECONDS = 300.0  # until the server begins to answer

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class BrokenStreamError(AgentcommError):
    """A stream of the server that broke, or that has an event that is too long."""


class Proxy:
    """The proxy as an ASGI application.

    Args:
        upstream: URL of the attacked server; its path is put before the paths of requests.
        attacker: The attacker, whose protocol is that of the server.
        max_body: Most bytes of a request, or of a response that is no stream.
        hold: Seconds for which a client waits for something that was dropped, unless it gives up before.
        wait: Seconds within which a client has to send its request.
    """

    def __init__(
        self,
        upstream: str,
        attacker: OnPath,
        max_body: int = MAX_BODY,
        hold: float = HOLD_SECONDS,
        wait: float = READ_SECONDS,
    ) -> None:
        self._url = httpx2.URL(upstream.rstrip("/"))
        self._attacker = attacker
        self._max_body, self._hold, self._wait = max_body, hold, wait
        # A transport without the client around it keeps no cookies and follows no redirects.
        self._transport = httpx2.AsyncHTTPTransport(
            limits=httpx2.Limits(max_connections=2 * MAX_REQUESTS, max_keepalive_connections=16), trust_env=False
        )
        self._copies: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})

    async def aclose(self) -> None:
        """Cancel duplicates on their way and close the connections to the server."""
        for task in self._copies:
            task.cancel()
        await asyncio.gather(*self._copies, return_exceptions=True)
        await self._transport.aclose()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer, unless the client goes away before."""
        try:
            async with asyncio.timeout(self._wait):
                body = await self._read(receive)
        except TimeoutError:
            await problem(408, f"the request did not arrive within {self._wait:g} s").send(send)
            return
        except MessageError as error:
            await problem(413, str(error)).send(send)
            return
        if body is None:
            return
        answering = asyncio.create_task(self._answer(scope, body, send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answering, leaving):
                task.cancel()
            results = await asyncio.gather(answering, leaving, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]

    async def _read(self, receive: Receive) -> bytes | None:
        """The request's body; None if the client went away while it was sending.

        Raises:
            MessageError: If it is too long.
        """
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._max_body:
                raise MessageError(f"the request has more than {self._max_body} bytes")
            if not message.get("more_body"):
                return bytes(body)

    async def _answer(self, scope: Any, body: bytes, send: Send) -> None:
        method = method_of(body) or scope["method"]
        passed = self._attacker.meet("request", method, body, scope["path"])
        if not passed:
            await self._withhold("request", send)
            return
        for seconds, event in passed[1:]:
            self._send_copy(scope, event.body, seconds)
        seconds, event = passed[0]
        await asyncio.sleep(seconds)
        try:
            response = await self._forward(scope, event.body)
        except httpx2.LocalProtocolError as error:
            await problem(400, f"the request cannot be forwarded: {error}").send(send)
            return
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, OSError) as error:
            await self._fail(error, send)
            return
        try:
            await self._return(scope, method, response, send)
        finally:
            await response.aclose()

    def _request(self, scope: Any, body: bytes) -> httpx2.Request:
        path = scope.get("raw_path") or scope["path"].encode()
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        target = self._url.raw_path.rstrip(b"/") + path.partition(b"?")[0] + query
        return httpx2.Request(
            scope["method"],
            self._url.copy_with(raw_path=target),
            headers=headers_to_server(scope["headers"], self._addresses(scope)),
            content=body,
            extensions={"timeout": {"connect": 10.0, "read": None, "write": 60.0, "pool": 10.0}},
        )

    async def _forward(self, scope: Any, body: bytes) -> httpx2.Response:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._transport.handle_async_request(self._request(scope, body))

    def _send_copy(self, scope: Any, body: bytes, seconds: float) -> None:
        """Send a duplicate of a request; its answer is thrown away."""

        async def go() -> None:
            await asyncio.sleep(seconds)
            with contextlib.suppress(httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, OSError):
                response = await self._forward(scope, body)
                try:
                    async with asyncio.timeout(self._hold):
                        async for _ in _chunks(response):
                            pass
                finally:
                    await response.aclose()

        if len(self._copies) < MAX_COPIES:
            task = asyncio.create_task(go())
            self._copies.add(task)
            task.add_done_callback(self._copies.discard)

    async def _return(self, scope: Any, method: str, response: httpx2.Response, send: Send) -> None:
        """Pass the server's answer on to the client."""
        headers = headers_to_client(response.headers.raw)
        encoded = response.headers.get("content-encoding", "identity") != "identity"
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "text/event-stream" and not encoded:
            await self._stream(scope, method, response, Answer(response.status_code, headers), send)
            return
        body = bytearray()
        try:
            async for chunk in _chunks(response):
                body += chunk
                if len(body) > self._max_body:
                    raise MessageError(f"the server's answer has more than {self._max_body} bytes")
        except (httpx2.HTTPError, MessageError, OSError) as error:
            await self._fail(error, send)
            return
        content = bytes(body)
        if scope["path"].endswith(CARD_PATHS) and not encoded:
            content = self._addresses(scope).through_proxy(content)
        passed = self._attacker.meet("response", method, content, scope["path"])
        if not passed:
            await self._withhold("response", send)
            return
        seconds, event = passed[0]  # HTTP has one answer to a request
        await asyncio.sleep(seconds)
        bodiless = scope["method"] == "HEAD" or response.status_code in (204, 304)
        await Answer(response.status_code, headers, b"" if bodiless else event.body, bodiless).send(send)

    async def _stream(self, scope: Any, method: str, response: httpx2.Response, answer: Answer, send: Send) -> None:
        """Pass a stream on, event by event."""
        await answer.start(send)
        cutter = Cutter(self._max_body)
        try:
            async for chunk in _chunks(response):
                for frame in cutter.feed(chunk):
                    await self._pass_frame(scope, method, frame, send)
            for frame in cutter.rest():
                await self._pass_frame(scope, method, frame, send)
        except (httpx2.HTTPError, MessageError, OSError) as error:
            # The server then closes the connection without the end of the body, so that the client sees it break, too.
            raise BrokenStreamError(str(error)) from error
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pass_frame(self, scope: Any, method: str, frame: Frame, send: Send) -> None:
        data = frame.data
        if not data:  # a comment, or what primes a stream that can be resumed
            await send({"type": "http.response.body", "body": frame.raw, "more_body": True})
            return
        for seconds, event in self._attacker.meet("response", method, data, scope["path"], streamed=True):
            await asyncio.sleep(seconds)
            raw = frame.raw if event.body == data else frame.with_data(event.body).raw
            await send({"type": "http.response.body", "body": raw, "more_body": True})

    async def _withhold(self, what: str, send: Send) -> None:
        """Leave the client waiting, as if the network had lost something."""
        await asyncio.sleep(self._hold)
        await problem(504, f"the {what} was dropped on purpose").send(send)

    async def _fail(self, error: Exception, send: Send) -> None:
        why = str(error) or type(error).__name__
        await problem(502, f"no answer from the server at {self._url}: {why}").send(send)

    def _addresses(self, scope: Any) -> Addresses:
        own = dict(scope["headers"]).get(b"host", b"")
        return Addresses(own.decode("latin-1"), self._url.netloc.decode(), f"{self._url.scheme}", scope["server"])


async def _chunks(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The bytes of a response as they come, still encoded."""
    stream: Any = response.stream
    async for chunk in stream:
        yield chunk


async def _gone(receive: Receive) -> None:
    """Return when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
