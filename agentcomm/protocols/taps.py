"""The attacker in the process: around the HTTP transport of a client, or around the transport of an MCP client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import Any

import anyio
from pydantic import ValidationError

from agentcomm.protocols.event import Direction, method_of
from agentcomm.protocols.onpath import OnPath
from agentcomm.protocols.streams import Cutter, Frame

MAX_WAITING = 64  # messages of MCP between two streams, and calls whose answers are awaited
LOST_SECONDS = 3600.0  # that a client waits for something that was dropped, if it has no timeout of its own


def tampered_http(http: ModuleType, inner: Any, attacker: OnPath) -> Any:
    """An HTTP transport with an attacker on it, for ``AsyncClient(transport=...)``.

    Something that is dropped raises ``ReadTimeout`` after the client's own timeout for reading.

    Args:
        http: ``httpx``, which the A2A SDK uses, or ``httpx2``, which the MCP SDK uses.
        inner: The transport below.
        attacker: The attacker.
    """
    return type("TamperedTransport", (_Transport, http.AsyncBaseTransport), {})(http, inner, attacker)


class _Transport:
    """The methods of the transport, for both libraries."""

    def __init__(self, http: Any, inner: Any, attacker: OnPath) -> None:
        self._http, self._inner, self._attacker = http, inner, attacker

    async def handle_async_request(self, request: Any) -> Any:
        """Pass a request on, and its answer back."""
        body = await request.aread()
        method, path = method_of(body) or request.method, request.url.path
        passed = self._attacker.meet("request", method, body, path)
        for seconds, event in passed[1:]:
            await asyncio.sleep(seconds)
            copy = await self._inner.handle_async_request(self._with_body(request, event.body))
            await copy.aread()
            await copy.aclose()
        if not passed:
            await self._lose(request)
        seconds, event = passed[0]
        await asyncio.sleep(seconds)
        response = await self._inner.handle_async_request(self._with_body(request, event.body))
        headers = [(k, v) for k, v in response.headers.raw if k.lower() not in (b"content-length", b"content-encoding")]
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            kind = type("TamperedStream", (_Stream, self._http.AsyncByteStream), {})
            stream = kind(response, self._attacker, method, path)
            return self._http.Response(response.status_code, headers=headers, stream=stream, request=request)
        content = await response.aread()
        await response.aclose()
        passed = self._attacker.meet("response", method, content, path)
        if not passed:
            await self._lose(request)
        seconds, event = passed[0]
        await asyncio.sleep(seconds)
        return self._http.Response(response.status_code, headers=headers, content=event.body, request=request)

    async def aclose(self) -> None:
        """Close the transport below."""
        await self._inner.aclose()

    def _with_body(self, request: Any, body: bytes) -> Any:
        headers = [(k, v) for k, v in request.headers.raw if k.lower() not in (b"content-length", b"accept-encoding")]
        return self._http.Request(
            request.method, request.url, headers=headers, content=body, extensions=request.extensions
        )

    async def _lose(self, request: Any) -> None:
        """Wait as a client waits whose packets are lost."""
        seconds = request.extensions.get("timeout", {}).get("read") or LOST_SECONDS
        await asyncio.sleep(min(seconds, LOST_SECONDS))
        raise self._http.ReadTimeout("dropped on purpose", request=request)


class _Stream:
    """The events of a response that are passed on."""

    def __init__(self, response: Any, attacker: OnPath, method: str, path: str) -> None:
        self._response, self._attacker = response, attacker
        self._method, self._path = method, path

    async def __aiter__(self) -> AsyncIterator[bytes]:
        cutter = Cutter()
        async for chunk in self._response.aiter_bytes():
            for frame in cutter.feed(chunk):
                async for raw in self._passed(frame):
                    yield raw
        for frame in cutter.rest():
            async for raw in self._passed(frame):
                yield raw

    async def _passed(self, frame: Frame) -> AsyncIterator[bytes]:
        data = frame.data
        if not data:  # a comment, or what primes a stream that can be resumed
            yield frame.raw
            return
        for seconds, event in self._attacker.meet("response", self._method, data, self._path, streamed=True):
            await asyncio.sleep(seconds)
            yield frame.raw if event.body == data else frame.with_data(event.body).raw

    async def aclose(self) -> None:
        """Close the response below."""
        await self._response.aclose()


def tampered(transport: Any, attacker: OnPath) -> AbstractAsyncContextManager[Any]:
    """An MCP transport with an attacker on it, for ``mcp.Client(...)``.

    Args:
        transport: The transport below: a context manager that gives a stream to read and one to write.
        attacker: The attacker.
    """
    return _tampered(transport, attacker)


@contextlib.asynccontextmanager
async def _tampered(transport: Any, attacker: OnPath) -> AsyncIterator[Any]:
    from mcp.shared.message import SessionMessage  # an extra
    from mcp_types.jsonrpc import jsonrpc_message_adapter

    methods: dict[Any, str] = {}  # of calls by id, so that answers are known by them

    async def pump(source: Any, target: Any, direction: Direction) -> None:
        async with target:
            async for message in source:
                if isinstance(message, Exception):
                    await target.send(message)
                    continue
                body = message.message.model_dump_json(by_alias=True, exclude_none=True).encode()
                for seconds, event in attacker.meet(direction, _method(message.message, body, methods), body):
                    await asyncio.sleep(seconds)
                    with contextlib.suppress(ValidationError):  # edited into something that is no message
                        parsed = jsonrpc_message_adapter.validate_json(event.body)
                        await target.send(SessionMessage(parsed, message.metadata))

    async with transport as (reads, writes):
        to_server, from_client = _pipe()
        to_client, from_server = _pipe()
        async with anyio.create_task_group() as pumps:
            pumps.start_soon(pump, from_client, writes, "request")
            pumps.start_soon(pump, reads, to_client, "response")
            yield from_server, to_server
            pumps.cancel_scope.cancel()


def _pipe() -> Any:
    make: Callable[[int], Any] = anyio.create_memory_object_stream
    return make(MAX_WAITING)


def _method(message: Any, body: bytes, methods: dict[Any, str]) -> str:
    """The method of a call, or of the call that an answer belongs to."""
    number = getattr(message, "id", None)
    if method := method_of(body):
        if number is not None:
            methods[number] = method
            while len(methods) > MAX_WAITING:  # calls that were never answered
                del methods[next(iter(methods))]
        return method
    return methods.pop(number, "")
