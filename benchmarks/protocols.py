"""Cost of one request over A2A and MCP: the bare SDKs, our carriers, and every defense, in turn, on loopback sockets.

``python -m benchmarks.protocols [ROW ...]`` measures all rows, or some of them. Defenses are those of
``agentcomm.protocols.defenses.catalog``, in the servers and clients in which attacks are tried on them; each is
compared with the same server and client without it.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import track

from agentcomm.protocols.carrier import Application, Carrier, Handle, Sender, load
from agentcomm.protocols.defenses.catalog import DEFENSES
from agentcomm.protocols.serving import serve
from agentcomm.wire.encoding import decode, encode
from agentcomm.wire.envelope import Envelope

ROUNDS, REQUESTS, CLIENTS = 5, 40, 4
ENVELOPE = Envelope(
    sent_round=0, sender=1, audience=2, sequence=7, sent_at=3, expiry=9, hops=2, key=1,
    payload=bytes(512), seal=b"s" * 64,
)  # fmt: skip
SAMPLE = encode(ENVELOPE)
TEXT = "x" * (4 * len(SAMPLE) // 3)  # as long as the envelope in base64, as both protocols send it
console = Console()


class BareA2A(Carrier):
    """The SDK's server and client, with an executor that answers a text with a text."""

    protocol = "a2a"

    def application(self, name: str, handle: Handle, url: str) -> Application:
        from a2a.helpers import new_text_message
        from a2a.server.agent_execution import AgentExecutor
        from a2a.server.request_handlers import DefaultRequestHandler
        from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
        from a2a.server.tasks import InMemoryTaskStore
        from a2a.types import Role
        from starlette.applications import Starlette

        from agentcomm.protocols.a2a.carrier import agent_card

        class Echo(AgentExecutor):
            async def execute(self, context: Any, event_queue: Any) -> None:
                text = context.message.parts[0].text
                await event_queue.enqueue_event(
                    new_text_message(text, role=Role.ROLE_AGENT, context_id=context.context_id)
                )

            async def cancel(self, context: Any, event_queue: Any) -> None: ...

        card = agent_card(name, url)
        handler = DefaultRequestHandler(agent_executor=Echo(), task_store=InMemoryTaskStore(), agent_card=card)
        app: Any = Starlette(routes=[*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")])
        return app  # type: ignore[no-any-return]

    @asynccontextmanager
    async def connect(self, url: str) -> AsyncIterator[Sender]:
        import httpx
        from a2a.client import ClientConfig, ClientFactory
        from a2a.types import Message, Part, Role, SendMessageRequest

        async with httpx.AsyncClient(trust_env=False) as http:
            client = await ClientFactory(ClientConfig(streaming=False, httpx_client=http)).create_from_url(url)

            class Text(Sender):
                async def send(self, data: bytes) -> bytes:
                    message = Message(message_id=uuid.uuid4().hex, role=Role.ROLE_USER, parts=[Part(text=TEXT)])
                    (got,) = [a async for a in client.send_message(SendMessageRequest(message=message))]
                    assert got.message.parts[0].text == TEXT
                    return data

            yield Text()


class BareMCP(Carrier):
    """The SDK's server and client, with a tool that answers a text with a text."""

    protocol = "mcp"

    def application(self, name: str, handle: Handle, url: str) -> Application:
        from mcp.server import MCPServer

        server = MCPServer(name, log_level="CRITICAL")

        @server.tool()
        async def echo(text: str) -> str:
            return text

        app: Any = server.streamable_http_app(json_response=True)
        return app  # type: ignore[no-any-return]

    @asynccontextmanager
    async def connect(self, url: str) -> AsyncIterator[Sender]:
        from mcp import Client

        async with Client(f"{url}/mcp", mode="2026-07-28", cache=None) as client:

            class Text(Sender):
                async def send(self, data: bytes) -> bytes:
                    result = await client.call_tool("echo", {"text": TEXT})
                    assert result.structured_content == {"result": TEXT}
                    return data

            yield Text()


Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Case:
    """A server, a client of it that makes one call, and the row that it is compared with."""

    serve: Callable[[], AbstractAsyncContextManager[str]]
    connect: Callable[[str], AbstractAsyncContextManager[Call]]
    bare: str


def carried(make: Callable[[], Carrier], bare: str) -> Case:
    """A carrier that takes an envelope there and back."""

    @asynccontextmanager
    async def server() -> AsyncIterator[str]:
        async with serve(lambda url: make().application("agent", answer, url)) as url:
            yield url

    @asynccontextmanager
    async def client(url: str) -> AsyncIterator[Call]:
        async with make().connect(url) as sender:

            async def call() -> None:
                assert decode(await sender.send(encode(ENVELOPE))) == ENVELOPE

            yield call

    return Case(server, client, bare)


def defended(protocol: str, name: str | None) -> Case:
    """An A2A agent that adds two numbers in a task, or an MCP tool that does, under a defense or none."""
    from agentcomm.protocols.attacks import a2a_lab, mcp_lab

    def parts() -> Any:
        made: Any = a2a_lab.A2AParts() if protocol == "a2a" else mcp_lab.MCPParts()
        for change in DEFENSES[protocol][name] if name else ():  # type: ignore[index]
            change(made)
        return made

    @asynccontextmanager
    async def server() -> AsyncIterator[str]:
        async with a2a_lab.server(parts()) if protocol == "a2a" else mcp_lab.serving(parts()) as served:
            yield served.url

    @asynccontextmanager
    async def client(url: str) -> AsyncIterator[Call]:
        if protocol == "a2a":
            async with a2a_lab.client(parts(), url, "alice") as caller:

                async def send() -> None:
                    assert a2a_lab.result_of(await a2a_lab.send(caller, {"a": 2, "b": 3}))["sum"] == 5

                yield send
        else:
            async with mcp_lab.client(parts(), url, "alice") as tools:

                async def call() -> None:
                    assert mcp_lab.result_of(await tools.call_tool("add", {"a": 2, "b": 3})) == 5

                yield call

    return Case(server, client, f"{protocol}, undefended")


CASES: dict[str, Case] = {
    "a2a, bare SDK": carried(BareA2A, "a2a, bare SDK"),
    "a2a, carrier": carried(partial(load, "a2a"), "a2a, bare SDK"),
    "mcp, bare SDK": carried(BareMCP, "mcp, bare SDK"),
    "mcp, carrier": carried(partial(load, "mcp"), "mcp, bare SDK"),
}
for _protocol, _named in DEFENSES.items():
    CASES |= {f"{_protocol}, {name or 'undefended'}": defended(_protocol, name) for name in (None, *_named)}


@dataclass(frozen=True)
class Cost:
    """Of one request, in ms of CPU; and requests per second with one and with several clients."""

    server: float
    client: float
    alone: float
    together: float

    @property
    def both(self) -> float:
        return self.server + self.client


async def answer(data: bytes) -> bytes:
    """Read an envelope, and write it again."""
    return encode(decode(data))


async def host(name: str) -> None:
    """Serve a case until standard input ends."""
    async with CASES[name].serve() as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def measure(calls: list[Call], server: psutil.Process) -> Cost:
    """One round of requests; server and client are the server's CPU time and this process's."""
    before, own, start = server.cpu_times(), time.process_time(), time.perf_counter()
    for _ in range(REQUESTS):
        await calls[0]()
    seconds, mine, after = time.perf_counter() - start, time.process_time() - own, server.cpu_times()

    async def several(call: Call) -> None:
        for _ in range(REQUESTS // CLIENTS):
            await call()

    start = time.perf_counter()
    await asyncio.gather(*map(several, calls))
    together = REQUESTS // CLIENTS * CLIENTS / (time.perf_counter() - start)
    used = after.user + after.system - before.user - before.system
    return Cost(1000 * used / REQUESTS, 1000 * mine / REQUESTS, REQUESTS / seconds, together)


async def main(names: list[str]) -> dict[str, list[Cost]]:
    """The costs of all rounds, by case; cases are measured in turn."""
    async with AsyncExitStack() as stack:
        ready: dict[str, tuple[list[Call], psutil.Process]] = {}
        for name in names:
            words = [sys.executable, "-m", "benchmarks.protocols", "serve", name]
            process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(process.wait)
            assert process.stdin is not None
            assert process.stdout is not None
            stack.callback(process.stdin.close)
            url = process.stdout.readline().strip()
            calls = [await stack.enter_async_context(CASES[name].connect(url)) for _ in range(CLIENTS)]
            for call in calls:
                await call()  # opens the connection
            ready[name] = calls, psutil.Process(process.pid)
        costs: dict[str, list[Cost]] = {name: [] for name in names}
        for _ in track(range(ROUNDS), "measuring", console=console):
            for name, (calls, server) in ready.items():
                costs[name].append(await measure(calls, server))
    return costs


def page(costs: dict[str, list[Cost]]) -> str:
    """The page, as Markdown."""
    lines = []
    for name, rounds in costs.items():
        bare = costs[CASES[name].bare]
        over = statistics.median(one.both / other.both - 1 for one, other in zip(rounds, bare, strict=True))
        numbers = [statistics.median(getattr(one, field) for one in rounds) for field in ("server", "client", "both")]
        rates = [statistics.median(getattr(one, field) for one in rounds) for field in ("alone", "together")]
        cells = [f"{n:.1f}" for n in numbers] + [f"{over:+.0%}"] + [f"{rate:.0f}" for rate in rates]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    table = "\n".join(lines)
    packages = ", ".join(f"{name} {version(name)}" for name in ("a2a-sdk", "mcp", "uvicorn", "httpx", "httpx2"))
    return f"""# Cost of a request over A2A and MCP

Written by `python -m benchmarks.protocols`: one server process and one client process on loopback sockets, an
envelope of {len(SAMPLE)} bytes (512 of payload, a seal of 64) there and back; medians of {ROUNDS} rounds of {REQUESTS}
requests, cases in turn, on {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end; {packages}.

The bare SDKs send a text of the same length, and do nothing with it. The carriers read and check the envelope at both
ends and write it again; they carry it as a raw part of an A2A message, and as an argument of an MCP tool. Requests per
second depend on what else runs on the machine; CPU time per request hardly does. Rows below the carriers are defenses
(`agentcomm/protocols/defenses/`), one at a time, on an A2A agent that adds two numbers in a task and an MCP tool that
does; *undefended* is the same without.

| | server, ms CPU | client, ms CPU | both | over the row without | requests/s, 1 client | {CLIENTS} clients |
|---|---|---|---|---|---|---|
{table}
"""


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(host(sys.argv[2]))
    else:
        asked = sys.argv[1:] or list(CASES)
        chosen = list(dict.fromkeys([*(CASES[name].bare for name in asked), *asked]))
        text = page(asyncio.run(main(chosen)))
        Path(__file__).with_name("protocols.md").write_text(text, encoding="utf-8")
        console.print(text, markup=False)
