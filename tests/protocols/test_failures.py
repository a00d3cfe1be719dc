"""Errors of calls say why, although SDKs and HTTP clients raise many without a text."""

from __future__ import annotations

import asyncio
import socket

import anyio
import httpx
import pytest

from agentcomm.base.errors import MessageError, ProtocolError
from agentcomm.protocols.carrier import PROTOCOLS, Protocol, load
from agentcomm.protocols.failures import failure
from agentcomm.protocols.serving import serve


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (TimeoutError(), "no answer within 7 s (TimeoutError)"),
        (caused(httpx.ReadTimeout(""), TimeoutError()), "no answer within 7 s (ReadTimeout)"),
        (httpx.ConnectTimeout(""), "no connection within 7 s (ConnectTimeout)"),
        (
            caused(OSError("card: "), httpx.WriteTimeout("")),
            "card: the request was not taken within 7 s (WriteTimeout)",
        ),
        (ValueError("Request 'tools/call' timed out"), "Request 'tools/call' timed out after 7 s"),
        (anyio.ClosedResourceError(), "ClosedResourceError"),
        (caused(ValueError("broken: "), httpx.ReadError("")), "broken: ReadError"),
        (ValueError("said"), "said"),
    ],
)
def test_an_error_has_a_reason(error: Exception, says: str) -> None:
    assert failure(error, 7) == says


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_timed_out_is_named_with_its_seconds(protocol: Protocol) -> None:
    carrier = load(protocol, timeout=0.5)

    async def slow(data: bytes) -> bytes:
        await asyncio.sleep(10)
        return data

    async def go() -> None:
        silent = socket.create_server(("127.0.0.1", 0))  # connections are made, and nothing comes
        with silent, pytest.raises(ProtocolError, match=r"0\.5 s"):
            async with carrier.connect(f"http://127.0.0.1:{silent.getsockname()[1]}") as sender:
                await sender.send(b"x")
        async with serve(lambda url: carrier.application("slow", slow, url)) as url, carrier.connect(url) as sender:
            with pytest.raises(ProtocolError, match=r"0\.5 s"):
                await sender.send(b"x")

    asyncio.run(go())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_error_of_the_block_passes_through_all_clients(protocol: Protocol) -> None:
    """The SDK of MCP wraps what is raised among its tasks in groups, one per client."""
    carrier = load(protocol)

    async def refuses(data: bytes) -> bytes:
        raise MessageError("refused: not today")

    async def go() -> None:
        async with serve(lambda url: carrier.application("refuses", refuses, url)) as url:
            with pytest.raises(MessageError, match="not today"):
                async with carrier.connect(url), carrier.connect(url) as sender:
                    await sender.send(b"x")

    asyncio.run(go())
