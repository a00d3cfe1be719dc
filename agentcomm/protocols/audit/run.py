"""Runs an audit: finds the protocol, then probes one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from agentcomm.base.errors import ProtocolError
from agentcomm.base.text import clip
from agentcomm.protocols.audit.a2a import access as a2a_access
from agentcomm.protocols.audit.a2a import cards, push
from agentcomm.protocols.audit.a2a import surface as a2a_surface
from agentcomm.protocols.audit.a2a.client import A2AClient, read_card
from agentcomm.protocols.audit.mcp import access as mcp_access
from agentcomm.protocols.audit.mcp import surface as mcp_surface
from agentcomm.protocols.audit.mcp.client import NEW, OLD, MCPClient
from agentcomm.protocols.audit.probes import Probe, passed, skipped, unclear
from agentcomm.protocols.audit.target import Target
from agentcomm.protocols.audit.verdicts import Report, Row
from agentcomm.protocols.audit.wire import Answer, Wire, connect, dig

PROBES = {
    "a2a": (*cards.PROBES, *a2a_surface.PROBES, *a2a_access.PROBES, *push.PROBES),
    "mcp": (*mcp_surface.PROBES, *mcp_access.PROBES),
}
DISCOVERY = {
    "a2a": Probe("a2a-discovery", "the agent is found by its card", lambda agent: agent),
    "mcp": Probe("mcp-discovery", "the server is found", lambda server: server),
}
MOST = 300  # characters of a row's evidence
CHANGES = "runs the agent or a tool; allow it with --allow-changes"


def audit(target: Target) -> Report:
    """Audit an endpoint.

    Raises:
        PluginError: If the HTTP client is not installed.
        ProtocolError: If there is no connection to the address.
    """
    return asyncio.run(_audit(target))


async def _audit(target: Target) -> Report:
    async with connect(target.url, target.limits) as wire:
        if target.protocol != "mcp":
            agent = await read_card(wire, target)
            if isinstance(agent, A2AClient):
                return await _a2a(agent, target)
            _check_reached(agent, target)
            if target.protocol == "a2a":
                found = unclear("agent-card.json", f"no card of A2A 1.0 at the address ({agent.short})")
                return _report(target, "a2a", [DISCOVERY["a2a"].row(found), *_unreached("a2a")])
        return await _mcp(wire, target)


async def _a2a(agent: A2AClient, target: Target) -> Report:
    if agent.endpoint is None:
        found = unclear("agent-card.json", "the card names no JSON-RPC endpoint of A2A 1.x at the asked origin")
    else:
        found = passed("agent-card.json", "a card of A2A 1.x")
    return _report(target, "a2a", [DISCOVERY["a2a"].row(found), *await _rows("a2a", agent, target)])


async def _mcp(wire: Wire, target: Target) -> Report:
    server = MCPClient(wire, target)
    answer = await server.find()
    spoken = [NEW] if server.stateless else [OLD] if dig(answer.result, "protocolVersion") else []
    if not spoken:
        _check_reached(answer, target)
        protocol = "MCP" if target.protocol else "A2A 1.0 or MCP"
        evidence = f"no server of {protocol} at the address ({answer.short})"
        if not urlsplit(target.url).path.strip("/"):
            evidence += f"; MCP servers are mostly at {target.url.rstrip('/')}/mcp"
        found = unclear("server/discover", evidence)
        others = _unreached("mcp") if target.protocol else []
        return _report(target, target.protocol or "unknown", [DISCOVERY["mcp"].row(found), *others])
    found = passed("server/discover", f"a server of MCP {spoken[0]}")
    try:
        return _report(target, "mcp", [DISCOVERY["mcp"].row(found), *await _rows("mcp", server, target)])
    finally:
        await server.close()


def _check_reached(answer: Answer, target: Target) -> None:
    """Check that the server could be reached, before anything is concluded from its answer.

    Raises:
        ProtocolError: If there was no connection.
    """
    if answer.unreachable:
        raise ProtocolError(
            f"nothing can be reached at {target.url}: {clip(answer.unreachable, MOST)}; start the agent or server, or"
            " correct scheme, host and port"
        )


def _unreached(protocol: str) -> list[Row]:
    return [probe.row(unclear("all", "there is nothing to ask at this address")) for probe in PROBES[protocol]]


async def _rows(protocol: str, client: Any, target: Target) -> list[Row]:
    rows = []
    for probe in PROBES[protocol]:
        if probe.changes and not target.changes:
            rows.append(probe.row(skipped("all", CHANGES)))
        elif probe.changes and protocol == "mcp" and (target.tool is None or not client.stateless):
            why = "name a tool that may be called with --tool" if target.tool is None else mcp_surface.STATELESS
            rows.append(probe.row(skipped("all", why)))
        else:
            rows += [probe.row(found) async for found in probe.run(client)]
    return rows


def _report(target: Target, protocol: str, rows: Iterable[Row]) -> Report:
    return Report(target.url, protocol, tuple(_cleaned(row, target) for row in rows))


def _cleaned(row: Row, target: Target) -> Row:
    """The row without tokens and control characters, which a server may have sent back."""

    def clean(text: str) -> str:
        for token in (target.owner_token, target.stranger_token):
            if token:
                text = text.replace(token, "[token]")
        return clip(text, MOST)

    return replace(row, where=clean(row.where), evidence=clean(row.evidence))
