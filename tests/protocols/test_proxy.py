"""The proxy between real clients and real servers, on loopback sockets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from a2a.types import StreamResponse, TaskState
from mcp import Client

from agentcomm.protocols.attacks import a2a_lab, mcp_lab
from agentcomm.protocols.attacks.a2a_lab import A2AParts
from agentcomm.protocols.attacks.mcp_lab import LEGACY, MODERN, MCPParts
from agentcomm.protocols.carrier import Protocol
from agentcomm.protocols.onpath import OnPath
from agentcomm.protocols.proxy import Proxy
from agentcomm.protocols.serving import serve
from agentcomm.protocols.tampering import read_rules

V1 = {"A2A-Version": "1.0"}


@asynccontextmanager
async def proxied(
    url: str, *rules: str, protocol: Protocol = "a2a", **settings: Any
) -> AsyncIterator[tuple[str, OnPath]]:
    attacker = OnPath(protocol, read_rules(rules))
    async with serve(lambda _: Proxy(url, attacker, **settings), server_header=False, date_header=False) as at:
        yield at, attacker


def call(data: Any, mid: str = "m") -> dict[str, Any]:
    message = {"messageId": mid, "role": "ROLE_USER", "parts": [{"data": data}]}
    return {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}


async def summed(url: str, streaming: bool = False) -> list[StreamResponse]:
    async with a2a_lab.client(A2AParts(), url, streaming=streaming) as caller:
        return await a2a_lab.send(caller, {"a": 2, "b": 3})


def test_a2a_passes_unchanged_and_clients_stay_on_the_path() -> None:
    async def go() -> None:
        async with a2a_lab.server(A2AParts()) as target, proxied(target.url) as (url, attacker):
            assert a2a_lab.result_of(await summed(url))["sum"] == 5
            assert attacker.done == {"seen": 4}  # the card and the call, there and back
            events = await summed(url, streaming=True)
            assert events[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED
            async with httpx2.AsyncClient() as caller:
                direct, through = [
                    await caller.post(at, json=call({"a": 1, "b": 1}), headers=V1) for at in (target.url, url)
                ]
            assert direct.headers.keys() == through.headers.keys() | {"date", "server"}
            assert through.json()["result"]["task"]["artifacts"][0]["parts"] == [{"data": {"sum": 2.0}}]

    asyncio.run(go())


@pytest.mark.parametrize(
    ("rule", "result"), [("edit:path=..sum,to=666", 666), ("edit:method=SendMessage,path=..a,to=40", 43)]
)
def test_a2a_requests_and_answers_are_edited(rule: str, result: int) -> None:
    async def go() -> None:
        async with a2a_lab.server(A2AParts()) as target, proxied(target.url, rule) as (url, _):
            assert a2a_lab.result_of(await summed(url))["sum"] == result

    asyncio.run(go())


def test_streams_are_attacked_event_by_event() -> None:
    async def go() -> None:
        async with a2a_lab.server(A2AParts()) as target:
            whole = await summed(target.url, streaming=True)
            async with proxied(target.url, "drop:kind=stream,contains=COMPLETED") as (url, attacker):
                assert len(await summed(url, streaming=True)) == len(whole) - 1
                assert attacker.done["dropped"] == 1
            async with proxied(target.url, "edit:kind=stream,path=..sum,to=666") as (url, _):
                events = await summed(url, streaming=True)
                assert len(events) == len(whole)
                assert any("666" in str(event) for event in events)

    asyncio.run(go())


def test_a_duplicated_request_is_executed_twice_and_answered_once() -> None:
    async def go() -> None:
        async with a2a_lab.server(A2AParts()) as target:
            async with proxied(target.url, "duplicate:direction=request,method=SendMessage") as (url, _):
                assert a2a_lab.result_of(await summed(url))["sum"] == 5
                await asyncio.sleep(0.2)
            assert len(target.worker.calls) == 2

    asyncio.run(go())


def test_delay_and_drop() -> None:
    async def go() -> None:
        async with a2a_lab.server(A2AParts()) as target, httpx2.AsyncClient(timeout=5, headers=V1) as caller:
            async with proxied(target.url, "delay:by=0.3,direction=request") as (url, _):
                begun = time.perf_counter()
                await caller.post(url, json=call({"a": 1}))
                assert time.perf_counter() - begun > 0.3
            for direction, executed in (("request", 1), ("response", 2)):
                async with proxied(target.url, f"drop:direction={direction}", hold=0.2) as (url, _):
                    answer = await caller.post(url, json=call({"a": 1}))
                    assert answer.status_code == 504
                    assert direction in answer.json()["error"]
                    assert len(target.worker.calls) == executed

    asyncio.run(go())


@pytest.mark.parametrize("mode", ["legacy", MODERN])
def test_mcp_passes_in_both_eras(mode: str) -> None:
    async def go() -> None:
        async with mcp_lab.serving(MCPParts()) as target, proxied(target.url, protocol="mcp") as (url, attacker):
            async with Client(f"{url}/mcp", mode=mode) as caller:
                assert [tool.name for tool in (await caller.list_tools()).tools] == ["add"]
                assert mcp_lab.result_of(await caller.call_tool("add", {"a": 2, "b": 3})) == 5
                assert caller.protocol_version == (LEGACY if mode == "legacy" else MODERN)
            assert attacker.done.keys() == {"seen"}

    asyncio.run(go())


def test_mcp_discovery_tools_and_results_are_edited() -> None:
    async def go() -> None:
        rules = ("description:to=evil", "refuse:method=server/discover", "edit:path=..structuredContent.result,to=666")
        async with (
            mcp_lab.serving(MCPParts()) as target,
            proxied(target.url, *rules, protocol="mcp") as (url, _),
            Client(f"{url}/mcp") as caller,
        ):
            assert caller.protocol_version == LEGACY
            assert (await caller.list_tools()).tools[0].description == "evil"
            assert mcp_lab.result_of(await caller.call_tool("add", {"a": 2, "b": 3})) == 666

    asyncio.run(go())


async def raw(app: Callable[..., Any], *requests: dict[str, Any], **settings: Any) -> list[httpx2.Response]:
    """Answers to requests that a plain server gets through the proxy."""
    async with (
        serve(lambda _: app) as upstream,
        proxied(upstream, **settings) as (url, _),
        httpx2.AsyncClient(timeout=5) as caller,
    ):
        return [await caller.request(**{"method": "POST", "url": url, **request}) for request in requests]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the headers and the body that arrive, with two cookies."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    names = [[k.decode("latin-1"), v.decode("latin-1")] for k, v in scope["headers"]]
    answer = json.dumps({"headers": names, "body": len(body), "path": scope["raw_path"].decode()}).encode()
    cookies = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"connection", b"x-own"), (b"x-own", b"1")]
    await send(
        {"type": "http.response.start", "status": 200, "headers": [*cookies, (b"x-list", b"1"), (b"x-list", b"2")]}
    )
    await send({"type": "http.response.body", "body": answer})


def test_headers_are_forwarded_as_lists_and_cookies_reach_nobody_else() -> None:
    async def go() -> None:
        sent = [("x-many", "1"), ("x-many", "2"), ("connection", "x-own"), ("x-own", "1"), ("te", "trailers")]
        first, second = await raw(echo, {"headers": sent, "content": b"1"}, {"content": b"2"})
        got = [tuple(pair) for pair in first.json()["headers"]]
        assert [value for name, value in got if name == "x-many"] == ["1", "2"]
        assert not {"x-own", "te", "accept-encoding"} & {name for name, _ in got}
        assert first.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert first.headers.get_list("x-list") == ["1", "2"]
        assert "x-own" not in first.headers
        # httpx2 itself sends the cookies back, once: the proxy has added none.
        assert len([name for name, _ in second.json()["headers"] if name == "cookie"]) <= 1

    asyncio.run(go())


def test_foreign_hosts_and_origins_reach_the_server_and_own_ones_are_translated() -> None:
    async def go() -> None:
        async with serve(lambda _: echo) as upstream, proxied(upstream) as (url, _), httpx2.AsyncClient() as caller:
            foreign = {"host": "evil.example", "origin": "http://evil.example"}
            got = dict((await caller.post(f"{url}/a%2Fb?c=%20d", headers=foreign)).json()["headers"])
            assert (got["host"], got["origin"]) == ("evil.example", "http://evil.example")
            answer = (await caller.post(f"{url}/a%2Fb?c=%20d", headers={"origin": url})).json()
            got = dict(answer["headers"])
            assert (f"http://{got['host']}", got["origin"]) == (upstream, upstream)
            assert answer["path"] == "/a%2Fb"

    asyncio.run(go())


def test_limits_of_bodies() -> None:
    async def big(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x" * 5000})

    async def go() -> None:
        (answer,) = await raw(echo, {"content": b"x" * 5000}, max_body=4000)
        assert (answer.status_code, "4000 bytes" in answer.text) == (413, True)
        (answer,) = await raw(big, {"content": b"x"}, max_body=4000)
        assert (answer.status_code, "4000 bytes" in answer.text) == (502, True)

    asyncio.run(go())
