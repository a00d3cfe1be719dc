"""The proxy among broken servers, and slow and hostile clients; and its command."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from protocols.test_proxy import V1, call, echo, proxied, summed

from agentcomm.protocols.attacks import a2a_lab
from agentcomm.protocols.attacks.a2a_lab import A2AParts
from agentcomm.protocols.serving import serve


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that sends these bytes to whoever connects, and closes the connection."""

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 999999 OK\r\n\r\n",
    ],
)
def test_broken_answers_become_502_with_a_reason(answer: bytes) -> None:
    async def go() -> None:
        async with answering(answer) as upstream, proxied(upstream) as (url, _), httpx2.AsyncClient() as caller:
            for _ in range(2):
                got = await caller.post(url, json={})
                assert got.status_code == 502
                assert "no answer from the server" in got.json()["error"]

    asyncio.run(go())


def test_a_dead_server_becomes_502() -> None:
    async def go() -> None:
        async with proxied(f"http://127.0.0.1:{free_port()}") as (url, _), httpx2.AsyncClient() as caller:
            assert (await caller.post(url, json={})).status_code == 502

    asyncio.run(go())


def test_clients_see_streams_break_that_break_at_the_server() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    whole = b"b\r\ndata: one\n\n\r\n"

    async def go() -> None:
        for rest in (b"5\r\ndata:", b"1000\r\n" + b"x" * 4096 + b"\r\n0\r\n\r\n"):
            async with (
                answering(head + whole + rest) as upstream,
                proxied(upstream, max_body=1000) as (url, _),
                httpx2.AsyncClient(timeout=5) as caller,
                caller.stream("POST", url, json={}) as answer,
            ):
                chunks = answer.aiter_raw()
                assert await anext(chunks) == b"data: one\n\n"
                with pytest.raises(httpx2.RemoteProtocolError):
                    await anext(chunks)

    asyncio.run(go())


def test_slow_clients_are_answered_and_disturb_nobody() -> None:
    async def go() -> None:
        async with serve(lambda _: echo) as upstream, proxied(upstream, wait=0.5) as (url, _):
            port = int(url.rpartition(":")[2])
            slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
            for _, writer in slow:
                writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nslow")
            async with httpx2.AsyncClient(timeout=5) as caller:
                assert (await caller.post(url, content=b"fast")).json()["body"] == 4
            for reader, writer in slow:
                assert (await reader.readline()).startswith(b"HTTP/1.1 408")
                writer.close()

    asyncio.run(go())


def test_clients_that_leave_end_their_requests() -> None:
    live: set[str] = set()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = [(b"content-type", b"text/event-stream")] if scope["path"] == "/stream" else []
        live.add(scope["path"])
        try:
            if headers:
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            await receive()
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            live.discard(scope["path"])

    async def go() -> None:
        async with serve(lambda _: endless) as upstream, proxied(upstream) as (url, _):
            async with httpx2.AsyncClient() as caller:
                with pytest.raises(httpx2.ReadTimeout):
                    await caller.post(f"{url}/silent", timeout=0.3)
                async with caller.stream("GET", f"{url}/stream") as stream:
                    async for chunk in stream.aiter_raw():
                        assert chunk == b"data: 1\n\n"
                        break
                    assert "/stream" in live
            async with asyncio.timeout(3):
                while live:
                    await asyncio.sleep(0.02)

    asyncio.run(go())


def fuzzed() -> list[bytes]:
    plain = json.dumps(call({"a": 1})).encode()
    deep = json.dumps(call({"a": 0})).replace('"a": 0', '"a": ' + "[" * 3000 + "]" * 3000).encode()
    values: list[Any] = [
        None,
        5,
        [],
        [call({})],
        {"method": 7},
        {"method": ["x"]},
        {"jsonrpc": "2.0", "id": {}, "method": "x"},
    ]
    cut = [plain[:n] for n in range(0, len(plain), 17)]
    flipped = [plain[:n] + bytes([plain[n] ^ 0x80]) + plain[n + 1 :] for n in range(0, len(plain), 23)]
    return [*cut, *flipped, deep, b"\xff\xfe", b'{"method": NaN}', *(json.dumps(v).encode() for v in values)]


def test_fuzzed_calls_are_answered_as_without_the_proxy() -> None:
    async def go() -> None:
        rules = ("edit:path=..nothing,to=1", "payload", "description:to=x", "card_url:to=http://127.0.0.1:9/")
        async with a2a_lab.server(A2AParts()) as target, proxied(target.url, *rules) as (url, attacker):
            async with httpx2.AsyncClient(headers=V1) as caller:
                for body in fuzzed():
                    direct, through = [await caller.post(at, content=body) for at in (target.url, url)]
                    assert direct.status_code == through.status_code
                    assert direct.json().get("error") == through.json().get("error")
            assert a2a_lab.result_of(await summed(target.url))["sum"] == 5
            assert attacker.done["seen"] >= 2 * len(fuzzed())

    asyncio.run(go())


def test_clients_at_once_get_their_own_answers_under_attack() -> None:
    async def go() -> None:
        rules = ("duplicate:probability=0.5,direction=request", "delay:by=0.02,probability=0.5")
        async with a2a_lab.server(A2AParts()) as target, proxied(target.url, *rules) as (url, _):

            async def one(number: int) -> None:
                async with httpx2.AsyncClient(headers=V1, timeout=30) as caller:
                    for turn in range(3):
                        got = (
                            await caller.post(url, json=call({"a": number, "b": turn * 1000}, f"{number}-{turn}"))
                        ).json()
                        assert got["result"]["task"]["artifacts"][0]["parts"][0]["data"]["sum"] == number + turn * 1000
                        assert got["result"]["task"]["history"][0]["messageId"] == f"{number}-{turn}"

            await asyncio.gather(*map(one, range(12)))

    asyncio.run(go())


def test_the_command_says_what_it_does_and_ends_cleanly(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    command = [sys.executable, "-m", "agentcomm", "proxy", "--protocol", "a2a", "--listen", "127.0.0.1:0"]
    command += ["--attack", "edit:method=SendMessage,path=..sum,to=666", "--log", str(log)]

    async def go() -> None:
        async with a2a_lab.server(A2AParts()) as target:
            process = await asyncio.create_subprocess_exec(
                *command, "--upstream", target.url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            assert process.stdout is not None
            lines = [(await process.stdout.readline()).decode() for _ in range(4)]
            assert target.url in lines[0]
            assert "edit" in lines[1]
            assert "only this machine" in lines[2]
            url = lines[0].split(" at ")[1].split(",")[0]
            assert a2a_lab.result_of(await summed(url))["sum"] == 666
            os.kill(process.pid, signal.SIGINT)
            out, err = await asyncio.wait_for(process.communicate(), 20)
            assert process.returncode == 0
            assert b"1 changed" in out
            assert err == b""

    asyncio.run(go())
    (entry,) = map(json.loads, log.read_text().splitlines())
    assert (entry["did"], entry["method"], entry["kind"]) == (["changed"], "SendMessage", "response")
    assert "666" not in log.read_text().replace(entry["timestamp"], "")
