"""ASGI middleware in front of an A2A or MCP server: size, depth, rate, time, origin and content type of requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection
from typing import Any

from agentcomm.protocols.carrier import MAX_BODY, Application, Scope
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.limits import Quota, check_depth

Receive = Callable[[], Any]
Send = Callable[[Scope], Any]
LOCAL = ("127.0.0.1", "localhost", "[::1]")
JSON_TYPES = ("application/json", "application/a2a+json")
# Reasons that A2A has a name for, by status: of its errors, and the code of google.rpc that each is mapped to.
REASONS = {415: ("INVALID_ARGUMENT", "CONTENT_TYPE_NOT_SUPPORTED")}


class Refusal(Exception):
    """An answer without the application: an HTTP status and a reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason

    async def answer(self, send: Send) -> None:
        """Send it, as errors look in A2A's binding to HTTP and JSON (AIP-193)."""
        error: dict[str, Any] = {"code": self.status, "message": self.reason}
        if self.status in REASONS:
            error["status"], reason = REASONS[self.status]
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            error["details"] = [{"@type": kind, "reason": reason, "domain": "a2a-protocol.org", "metadata": {}}]
        body = json.dumps({"error": error}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def header(scope: Scope, name: bytes) -> str | None:
    """The value of a header; None if it is absent.

    Raises:
        Refusal: If it is there twice, because two readers could choose differently.
    """
    values = [value for key, value in scope["headers"] if key == name]
    if len(values) > 1:
        raise Refusal(400, f"the header {name.decode()} is there twice")
    return values[0].decode("latin-1") if values else None


async def read_body(scope: Scope, receive: Receive, most: int, seconds: float) -> bytes:
    """The body of a request, read no further than its limit.

    Raises:
        Refusal: If it is larger than ``most`` bytes, does not arrive within ``seconds``, or the client leaves.
    """
    length = header(scope, b"content-length")
    too_large = Refusal(413, f"the request is larger than {most} bytes")
    if length is not None and (not length.isdigit() or int(length) > most):
        raise too_large
    parts, total = [], 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refusal(400, "the client left")
                parts.append(message.get("body", b""))
                total += len(parts[-1])
                if total > most:
                    raise too_large
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise Refusal(408, f"the request did not arrive within {seconds:g} s") from None


def replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives a body that was read, and then what comes after it."""
    given = False

    async def again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def peer(scope: Scope) -> str:
    """The address of the other end: the caller, where no proxy is in front."""
    client = scope.get("client")
    return client[0] if client else ""


class LimitRequests:
    """Limits the size, depth, rate and number of requests, and the time they take to arrive.

    Args:
        app: The application.
        max_body: Bytes.
        max_depth: Levels of JSON.
        seconds: For a request to arrive.
        quota: Rate and number of requests; None for no limit.
        caller: Who counts as one caller.
    """

    def __init__(
        self,
        app: Application,
        max_body: int = 1 << 20,
        max_depth: int = 64,
        seconds: float = 10.0,
        quota: Quota | None = None,
        caller: Callable[[Scope], str] = peer,
    ) -> None:
        self._app, self._max_body, self._max_depth, self._seconds = app, max_body, max_depth, seconds
        self._quota, self._caller = quota, caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is within the limits."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        caller = self._caller(scope)
        try:
            if self._quota is not None:
                self._quota.enter(caller)
        except RefusedError as error:
            return await Refusal(429, str(error)).answer(send)
        try:
            body = await read_body(scope, receive, self._max_body, self._seconds)
            check_depth(body, self._max_depth)
        except Refusal as refusal:
            return await refusal.answer(send)
        except RefusedError as error:
            return await Refusal(400, str(error)).answer(send)
        else:
            await self._app(scope, replay(body, receive), send)
        finally:
            if self._quota is not None:
                self._quota.leave(caller)


def bounded(app: Application) -> Application:
    """An application whose requests are no longer than a carrier's, and arrive in time."""
    return LimitRequests(app, max_body=MAX_BODY)


class CheckOrigin:
    """Refuses requests that a browser was tricked into: foreign Host or Origin, or a body that needs no preflight.

    Args:
        app: The application.
        hosts: Names under which the server is reached, with or without a port; loopback by default.
        origins: Origins of web pages that may call, besides those of the server itself.
        types: Media types of bodies.
    """

    def __init__(
        self,
        app: Application,
        hosts: Collection[str] = LOCAL,
        origins: Collection[str] = (),
        types: Collection[str] = JSON_TYPES,
    ) -> None:
        self._app, self._hosts, self._origins, self._types = app, hosts, origins, types

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what no browser could have been tricked into."""
        if scope["type"] == "http":
            try:
                self._check(scope)
            except Refusal as refusal:
                return await refusal.answer(send)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        host = (header(scope, b"host") or "").lower()
        name = host.rpartition(":")[0] if host[host.rfind("]") + 1 :].count(":") else host
        if host not in self._hosts and name not in self._hosts:
            raise Refusal(421, "this server does not answer for that host")
        given = header(scope, b"origin")
        own = f"{scope.get('scheme', 'http')}://{host}"  # pages of this server itself, whose host was checked above
        if given is not None and given not in self._origins and given.lower() != own:
            raise Refusal(403, "pages of that origin may not call this server")
        media = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
        if scope["method"] in ("POST", "PUT", "PATCH") and media not in self._types:
            raise Refusal(415, f"the content type must be one of {', '.join(self._types)}")


def protect(
    app: Application,
    hosts: Collection[str] = LOCAL,
    origins: Collection[str] = (),
    max_body: int = 1 << 20,
    quota: Quota | None = None,
) -> Application:
    """An A2A or MCP application with limits and the checks against browsers in front of it.

    Args:
        app: The application.
        hosts: Names under which it is reached.
        origins: Origins of web pages that may call it, besides its own.
        max_body: Bytes of one request.
        quota: Rate and number of requests of one caller; :class:`Quota`'s defaults if None.
    """
    limited = LimitRequests(app, max_body, quota=Quota() if quota is None else quota)
    return CheckOrigin(limited, hosts, origins)
