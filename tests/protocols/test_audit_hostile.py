"""The audit of servers that are dead, refuse everything, answer nothing, or answer anything."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from servers import Served, serve

from agentcomm.base.errors import ProtocolError
from agentcomm.protocols.audit.run import PROBES, audit
from agentcomm.protocols.audit.target import Limits, Target
from agentcomm.protocols.audit.verdicts import Report, Verdict

SHORT = Limits(seconds=0.5, total_seconds=4, read_bytes=100_000, sent_bytes=1 << 20)
CHANGES: dict[str, Any] = {"changes": True, "tool": "add", "limits": SHORT, "owner_token": "alice-token"}
TOOLS = {"tools": [{"name": "add", "inputSchema": {}}]}


def card(url: str) -> dict[str, Any]:
    interface = {"url": url + "/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
    capabilities = {"streaming": True, "pushNotifications": True, "extendedAgentCard": True}
    return {"name": "agent", "supportedInterfaces": [interface], "capabilities": capabilities}


@contextmanager
def answering(rpc: Callable[[dict[str, Any]], tuple[int, Any]], discovery: bool = True) -> Iterator[Served]:
    """A server with a card (at ``/``) and ``server/discover``, which answers all else by ``rpc(request)``."""

    def build(url: str) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            body = b""
            more = True
            while more:
                event = await receive()
                body, more = body + event.get("body", b""), event.get("more_body", False)
            try:
                asked = json.loads(body)
            except (ValueError, RecursionError):
                asked = {}
            asked = asked if isinstance(asked, dict) else {}
            if discovery and scope["path"].endswith("agent-card.json") and not scope["path"].startswith("/mcp"):
                status, answer = 200, card(url)
            elif discovery and asked.get("method") == "server/discover":
                status, answer = 200, {"jsonrpc": "2.0", "id": 1, "result": {"supportedVersions": ["2026-07-28"]}}
            else:
                status, answer = rpc(asked)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": content})

        return app

    with serve(build, lifespan="off") as served:
        yield served


def both(url: str) -> tuple[Report, Report]:
    return audit(Target(url, protocol="a2a", **CHANGES)), audit(Target(url + "/mcp", protocol="mcp", **CHANGES))


def conclusions(report: Report) -> set[Verdict]:
    return {row.verdict for row in report.rows if not row.probe.endswith("-discovery")}


def test_dead() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        for path, protocol in (("", None), ("", "a2a"), ("/mcp", "mcp")):
            with pytest.raises(
                ProtocolError, match=f"nothing can be reached at {url}{path}: connection refused; start"
            ):
                audit(Target(url + path, protocol=protocol, **CHANGES))  # type: ignore[arg-type]


def test_a_server_that_stays_silent_gives_a_report() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are made, and nothing comes
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for report in both(url):
            assert {row.verdict for row in report.rows} == {Verdict.INCONCLUSIVE}
            assert report.exit_code == 2


REFUSALS = {
    "401": lambda asked: (401, {"error": "unauthorized"}),
    "503": lambda asked: (503, {}),
    "not found": lambda asked: (200, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no"}}),
    "internal": lambda asked: (200, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "no"}}),
}
EMPTY = {
    "object": lambda asked: (200, {}),
    "result": lambda asked: (200, {"jsonrpc": "2.0", "id": 1, "result": {}}),
    "null": lambda asked: (200, {"jsonrpc": "2.0", "id": 1, "result": None}),
    "nothing": lambda asked: (200, b""),
}


@pytest.mark.parametrize("name", [*REFUSALS, *EMPTY])
def test_refusing_and_empty_servers_prove_nothing(name: str) -> None:
    """A server that refuses its owner, too, does not pass for refusing strangers."""
    for discovery in (True, False):
        with answering({**REFUSALS, **EMPTY}[name], discovery) as server:
            for report in both(server.url):
                # what the card or the server's own words say can be read all the same
                probed = [
                    row for row in report.rows if not row.probe.startswith(("a2a-card", "a2a-discovery", "mcp-d"))
                ]
                assert {row.verdict for row in probed} <= {Verdict.INCONCLUSIVE, Verdict.SKIPPED}, report.rows
                if not discovery or report.protocol == "mcp":
                    assert report.exit_code == 2


def permissive(asked: dict[str, Any]) -> tuple[int, Any]:
    """Serves everyone everything."""
    ids = itertools.count(1000)
    task = {"id": str(next(ids) + random.randrange(10**9)), "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}}
    given = asked.get("params", {})
    method = asked.get("method", "")
    if given.get("message", {}).get("taskId"):
        task["id"] = given["message"]["taskId"]
    tools = {**TOOLS, "ttlMs": 10**9, "content": [{"type": "text", "text": task["id"]}]}
    results: dict[str, Any] = {
        "SendMessage": {"task": task},
        "GetTask": {**task, "id": given.get("id")},
        "CancelTask": {**task, "id": given.get("id")},
        "ListTasks": {"tasks": []},
        "GetExtendedAgentCard": {"name": "secret"},
        "tools/list": tools,
        "tools/call": tools,
    }
    return 200, {"jsonrpc": "2.0", "id": 1, "result": results.get(method, {})}


def test_permissive() -> None:
    with answering(permissive) as server:
        a2a, mcp = both(server.url)
    failing = {row.probe for row in a2a.rows if row.verdict is Verdict.FAIL}
    assert failing >= {"a2a-owner-open", "a2a-context", "a2a-anonymous", "a2a-replay", "a2a-extended-card"}
    failing = {row.probe for row in mcp.rows if row.verdict is Verdict.FAIL}
    assert failing >= {"mcp-browser", "mcp-version", "mcp-size", "mcp-cache", "mcp-anonymous", "mcp-replay"}
    assert (a2a.exit_code, mcp.exit_code) == (1, 1)


def hostile(seed: int) -> Callable[[dict[str, Any]], tuple[int, Any]]:
    """Answers of the right form with values of any type, and of no form at all."""
    draw = random.Random(seed)
    keys = ["result", "error", "code", "task", "id", "tools", "events", "contextId", "content", "inputRequests",
            "message", "requestState", "tasks", "name", "params", "supportedVersions", "ttlMs"]  # fmt: skip

    def value(depth: int) -> Any:
        kind = draw.randrange(9 if depth else 6)
        if kind >= 7:
            return {draw.choice(keys): value(depth - 1) for _ in range(draw.randrange(4))}
        if kind == 6:
            return [value(depth - 1) for _ in range(draw.randrange(4))]
        return (None, True, draw.randrange(-40000, 40000), 1e308, "\x1b[2J\ud800" * draw.randrange(3), "c")[kind]

    def rpc(asked: dict[str, Any]) -> tuple[int, Any]:
        body = {"jsonrpc": "2.0", "id": value(0), draw.choice(["result", "error"]): value(4)}
        raw = [
            json.dumps(body).encode(), json.dumps(value(3)).encode(), b"[" * 20_000, b"{", b"\xff\xfe", b"9" * 5000,
            b"NaN", b"x" * 200_000, gzip.compress(b"0" * 100_000),
        ]  # fmt: skip
        return draw.choice([200, 200, 200, 400, 404, 418, 500, 302, 204]), draw.choice([raw[0], raw[0], *raw])

    return rpc


@pytest.mark.parametrize("seed", range(4))
def test_any_answer_leads_to_a_report(seed: int) -> None:
    with answering(hostile(seed)) as server:
        for report in both(server.url):
            assert {row.probe for row in report.rows} >= {probe.id for probe in PROBES[report.protocol]}
            assert all(row.evidence.isprintable() for row in report.rows)
    with answering(hostile(seed), discovery=False) as server:
        for report in (*both(server.url), audit(Target(server.url, **CHANGES))):
            assert report.rows


RAW = {
    "silent": None,
    "slow": b"HTTP/1.1 200 OK\r\nx: 1\r\n",  # and a byte every 50 ms
    "endless body": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[",
    "endless stream": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hi\n\n",
    "endless event": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ",
    "no HTTP": b"SSH-2.0-server\r\n",
    "hangs up": b"",
}


@contextmanager
def raw_server(name: str) -> Iterator[str]:
    """A socket that answers every connection with the bytes above, and goes on."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)

    def handle(connection: socket.socket) -> None:
        start = RAW[name]
        with connection:
            try:
                connection.settimeout(0.2)
                connection.recv(65536)
                if start is not None:
                    connection.sendall(start)
                while start and name.startswith(("slow", "endless")) and not stop.is_set():
                    connection.sendall(b"1" if name == "slow" else b": x\n\n" * 50 if "stream" in name else b"1," * 500)
                    stop.wait(0.05 if name == "slow" else 0.001)
                if start is None:
                    stop.wait(5)
            except OSError:
                pass

    def accept() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                continue
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        thread.join(2)
        listener.close()


@pytest.mark.parametrize("name", RAW)
def test_audits_end(name: str) -> None:
    with raw_server(name) as url:
        began = time.monotonic()
        report = audit(Target(url, **CHANGES))
        assert time.monotonic() - began < 8
    assert report.exit_code == 2


def test_no_redirect_and_no_address_of_a_server_is_followed() -> None:
    asked: list[Any] = []

    def note(request: dict[str, Any]) -> tuple[int, Any]:
        asked.append(request)
        return 200, {}

    with answering(note, discovery=False) as other:

        def build(url: str) -> Any:
            async def app(scope: Any, receive: Any, send: Any) -> None:
                headers = [(b"location", other.url.encode())]
                if scope["path"].endswith("agent-card.json"):
                    content = json.dumps(card(other.url)).encode()
                    await send({"type": "http.response.start", "status": 200, "headers": []})
                    await send({"type": "http.response.body", "body": content})
                    return
                await send({"type": "http.response.start", "status": 307, "headers": headers})
                await send({"type": "http.response.body", "body": b""})

            return app

        with serve(build, lifespan="off") as server:
            reports = both(server.url)
    assert asked == []
    assert [report.exit_code for report in reports] == [1, 2]  # the card names another origin


def test_tokens_that_servers_send_back_are_not_shown() -> None:
    token = "alice-secret-token"

    def echo(asked: dict[str, Any]) -> tuple[int, Any]:
        return 200, {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": token}, {"name": token}]}}

    with answering(echo) as server:
        report = audit(Target(server.url + "/mcp", protocol="mcp", owner_token=token))
    assert any("[token]" in row.evidence for row in report.rows)
    assert token not in str(report)
    assert token not in repr(Target(server.url, owner_token=token))
