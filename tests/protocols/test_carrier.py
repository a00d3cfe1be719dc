"""Bytes over real servers and clients of both SDKs."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from agentcomm.base.errors import MessageError, PluginError, ProtocolError
from agentcomm.protocols.carrier import MAX_DATA, PROTOCOLS, load
from agentcomm.protocols.extras import needs
from agentcomm.protocols.team_servers import TeamServers
from agentcomm.wire.encoding import decode, encode
from agentcomm.wire.envelope import Envelope

ENVELOPE = Envelope(
    sent_round=0,
    sender=1,
    audience=0,
    sequence=7,
    sent_at=3,
    expiry=9,
    hops=2,
    key=1,
    payload=bytes(512),
    seal=b"s" * 64,
)


async def answers(data: bytes) -> bytes:
    if data == b"refused":
        raise MessageError("refused: this agent does not like it")
    if data == b"broken":
        raise ZeroDivisionError
    return data[::-1]


@pytest.fixture(scope="module", params=PROTOCOLS)
def servers(request: pytest.FixtureRequest) -> Iterator[TeamServers]:
    servers = TeamServers(load(request.param), [answers, answers])
    yield servers
    servers.close()


def test_an_envelope_arrives_and_returns_unchanged(servers: TeamServers) -> None:
    data = encode(ENVELOPE)
    for sender in servers.senders:
        assert decode(servers.run(sender.send(servers.run(sender.send(data))))) == ENVELOPE
    assert len(set(servers.urls)) == 2
    assert all(url.startswith("http://127.0.0.1:") for url in servers.urls)


@pytest.mark.parametrize("data", [b"", bytes(range(256)), bytes(MAX_DATA)], ids=["empty", "all bytes", "largest"])
def test_any_bytes_are_carried(servers: TeamServers, data: bytes) -> None:
    assert servers.run(servers.senders[0].send(data)) == data[::-1]


def test_a_refusal_reaches_the_sender_and_the_server_goes_on(servers: TeamServers) -> None:
    sender = servers.senders[0]
    with pytest.raises(MessageError, match="does not like it"):
        servers.run(sender.send(b"refused"))
    with pytest.raises((MessageError, ProtocolError)) as broken:
        servers.run(sender.send(b"broken"))
    assert "Traceback" not in str(broken.value)
    with pytest.raises((MessageError, ProtocolError)):
        servers.run(sender.send(bytes(2 * MAX_DATA)))
    assert servers.run(sender.send(b"ab")) == b"ba"


def test_a_body_without_end_is_refused_unread(servers: TeamServers) -> None:
    with socket.create_connection(("127.0.0.1", int(servers.urls[1].rpartition(":")[2])), timeout=10) as raw:
        path = "/mcp" if "MCP" in type(servers.senders[0]).__name__ else "/"
        raw.sendall(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {10**9}\r\n\r\n[".encode())
        assert b" 413 " in raw.recv(1000).splitlines()[0]
    assert servers.run(servers.senders[1].send(b"ab")) == b"ba"


def test_requests_at_the_same_time_get_their_own_answers(servers: TeamServers) -> None:
    async def many() -> list[bytes]:
        return await asyncio.gather(*(servers.senders[n % 2].send(b"%d!" % n) for n in range(40)))

    assert servers.run(many()) == [(b"%d!" % n)[::-1] for n in range(40)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_left_of_closed_servers(protocol: str) -> None:
    before = set(threading.enumerate())
    servers = TeamServers(load(protocol), [answers])
    (url,) = servers.urls
    assert set(threading.enumerate()) - before
    servers.close()
    servers.close()
    assert set(threading.enumerate()) == before

    async def call() -> None:
        async with load(protocol).connect(url) as sender:
            await sender.send(b"x")

    with pytest.raises(ProtocolError, match=url):
        asyncio.run(call())


@pytest.mark.parametrize(("protocol", "package"), [("a2a", "a2a"), ("mcp", "mcp"), ("mcp", "uvicorn")])
def test_without_its_packages_a_protocol_says_how_to_install_them(
    protocol: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(f"agentcomm.protocols.{protocol}")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PluginError, match=rf"needs the package '{package}.*pip install 'agentcomm\[{protocol}\]'"):
        load(protocol)


def test_an_unknown_protocol_and_a_missing_package_are_named() -> None:
    with pytest.raises(PluginError, match="unknown protocol 'a2b'; did you mean 'a2a'"):
        load("a2b")
    with (
        pytest.raises(PluginError, match=r"needs the package 'no_such_sdk'.*pip install 'agentcomm\[mcp\]'"),
        needs("mcp"),
    ):
        import no_such_sdk  # type: ignore[import-not-found]  # noqa: F401
