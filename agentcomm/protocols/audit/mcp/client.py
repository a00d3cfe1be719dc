"""Calls of MCP as an auditor makes them: over Streamable HTTP, without sessions (2026-07-28) and with (2025-11-25)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from agentcomm.protocols.audit.target import Caller, Target
from agentcomm.protocols.audit.wire import Answer, Wire, dig

NEW, OLD = "2026-07-28", "2025-11-25"
KEY = "org.agentcomm/once"  # names a call that is to run once; the servers of others ignore it


@dataclass(frozen=True)
class Session:
    """An open session of 2025-11-25."""

    id: str
    answer: Answer

    @property
    def headers(self) -> dict[str, str]:
        """The headers of requests in it."""
        return {"mcp-session-id": self.id, "mcp-protocol-version": OLD}


class MCPClient:
    """One server."""

    def __init__(self, wire: Wire, target: Target) -> None:
        self.wire, self.target = wire, target
        self.stateless = False  # speaks 2026-07-28
        self.sessions: list[tuple[Caller, Session]] = []  # open, to be closed at the end

    async def find(self) -> Answer:
        """Find out which versions the server speaks. Value: the answer to the last question."""
        answer = await self.call("server/discover", self.target.owner)
        self.stateless = isinstance(dig(answer.result, "supportedVersions"), list) and NEW in dig(
            answer.result, "supportedVersions"
        )
        if self.stateless:
            return answer
        opened = await self.open(self.target.owner)
        return opened.answer

    @staticmethod
    def body(method: str, version: str = NEW, **params: Any) -> dict[str, Any]:
        """A request of 2026-07-28."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        }
        return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta, **params}}

    @staticmethod
    def headers(method: str, name: str | None = None, version: str = NEW) -> dict[str, str]:
        """The headers that go with it."""
        named = {} if name is None else {"mcp-name": name}
        return {"mcp-protocol-version": version, "mcp-method": method, **named}

    async def call(self, method: str, caller: Caller, headers: Mapping[str, str] = {}, **params: Any) -> Answer:
        """Call a method of 2026-07-28."""
        name = params.get("name")
        return await self.wire.post(self.body(method, **params), caller, {**self.headers(method, name), **headers})

    async def tools(self, caller: Caller, headers: Mapping[str, str] = {}) -> Answer:
        """The list of tools, by the newest version that the server speaks; it reads and changes nothing."""
        if self.stateless:
            return await self.call("tools/list", caller, headers)
        opened = await self.open(caller)
        if not opened.id:
            return opened.answer
        return await self.in_session(opened, caller, "tools/list", headers)

    async def use(self, caller: Caller, key: str | None = None, **params: Any) -> Answer:
        """Call the tool that the target allows, under a new key unless one is given."""
        given = {"name": self.target.tool, "arguments": self.target.arguments, **params}
        body = self.body("tools/call", **given)
        body["params"]["_meta"][KEY] = key or uuid4().hex
        return await self.wire.post(body, caller, self.headers("tools/call", self.target.tool))

    async def open(self, caller: Caller, headers: Mapping[str, str] = {}) -> Session:
        """Open a session; its id is empty if there is none."""
        hello = {
            "protocolVersion": OLD,
            "capabilities": {},
            "clientInfo": {"name": "agentcomm-audit", "version": "1"},
        }
        body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
        answer = await self.wire.post(body, caller, headers)
        opened = Session(
            answer.headers.get("mcp-session-id", "") if dig(answer.result, "protocolVersion") else "", answer
        )
        if opened.id:
            ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            await self.wire.post(ready, caller, opened.headers)
            self.sessions.append((caller, opened))
        return opened

    async def in_session(
        self,
        session: Session,
        caller: Caller,
        method: str,
        headers: Mapping[str, str] = {},
    ) -> Answer:
        """Call a method without parameters in a session."""
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": {}}
        return await self.wire.post(body, caller, {**session.headers, **headers})

    async def admitted(self, caller: Caller) -> bool:
        """Whether the server answers the caller's own calls."""
        return listed(await self.tools(caller))

    async def close(self) -> None:
        """End the sessions that the audit opened."""
        for caller, session in self.sessions:
            await self.wire.request("DELETE", self.wire.url, caller, session.headers, seconds=1)
        self.sessions.clear()


def listed(answer: Answer) -> bool:
    """Whether an answer is a list of tools."""
    return isinstance(dig(answer.result, "tools"), list)


def done(answer: Answer) -> bool:
    """Whether an answer is the result of a tool that ran."""
    return isinstance(dig(answer.result, "content"), list) and dig(answer.result, "isError") is not True
