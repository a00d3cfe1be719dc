"""What the endpoint processes and promises: web pages, versions, bodies, caching, and the list of tools."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from agentcomm.protocols.audit.mcp.client import NEW, MCPClient, listed
from agentcomm.protocols.audit.probes import Found, Probe, compared, failed, passed, skipped, unclear
from agentcomm.protocols.audit.target import ANONYMOUS
from agentcomm.protocols.audit.wire import dig

LIST = "tools/list"
DAY = 86_400_000  # milliseconds
STATELESS = f"the server does not speak {NEW}"


async def browser(server: MCPClient) -> AsyncIterator[Found]:
    """Requests that a web page of another site could cause, and those after DNS rebinding."""
    control = await server.tools(server.target.owner)
    for where, headers in (
        ("Origin", {"origin": "http://evil.example"}),
        ("Origin: null", {"origin": "null"}),
        ("Host", {"host": "evil.example"}),
        ("text/plain", {"content-type": "text/plain"}),
    ):
        attempt = await server.tools(server.target.owner, headers)
        yield compared(where, control, listed(control), attempt, listed(attempt))


async def versions(server: MCPClient) -> AsyncIterator[Found]:
    """A version that the protocol does not have, and a header that contradicts the body."""
    if not server.stateless:
        yield skipped("mcp-protocol-version", STATELESS)
        return
    control = await server.tools(server.target.owner)
    for where, header, body in (("1900-01-01", "1900-01-01", "1900-01-01"), ("header against body", NEW, "1900-01-01")):
        given = server.headers(LIST, version=header)
        attempt = await server.wire.post(server.body(LIST, body), server.target.owner, given)
        yield compared(where, control, listed(control), attempt, listed(attempt))


async def size(server: MCPClient) -> AsyncIterator[Found]:
    """A small request followed by spaces."""
    owner, most = server.target.owner, server.target.limits.sent_bytes
    body, headers = await server.listing(owner)
    control = await server.wire.post(body, owner, headers)
    attempt = await server.wire.post(json.dumps(body).encode() + b" " * most, owner, headers)
    where = f"{most >> 20} MiB"
    if listed(control) and "no answer" in attempt.problem and listed(await server.tools(owner)):
        yield passed(where, "the server hung up, and answers others")
    else:
        yield compared(where, control, listed(control), attempt, listed(attempt))


async def depth(server: MCPClient) -> AsyncIterator[Found]:
    """Nested lists, after which the server must still answer."""
    where, owner = "5,000 nested lists", server.target.owner
    body, headers = await server.listing(owner)
    control = await server.wire.post(body, owner, headers)
    body["params"]["extra"] = 0
    text = json.dumps(body).replace('"extra": 0', f'"extra": {"[" * 5000}{"]" * 5000}')
    attempt = await server.wire.post(text.encode(), owner, headers)
    after = await server.tools(owner)
    if not listed(control):
        yield unclear(where, f"the control did not succeed: {control.short}")
    elif listed(after):
        yield passed(where, f"{attempt.short}; the server still answers")
    else:
        yield failed(where, f"the server does not answer any more: {after.short}")


async def batch(server: MCPClient) -> AsyncIterator[Found]:
    """Two requests in one body, which MCP no longer has."""
    owner = server.target.owner
    body, headers = await server.listing(owner)
    control = await server.wire.post(body, owner, headers)
    attempt = await server.wire.post([body, {**body, "id": 8}], owner, headers)
    served = isinstance(attempt.message, list) and len(attempt.message) > 0
    yield compared("batch", control, listed(control), attempt, served or listed(attempt))


async def caching(server: MCPClient) -> AsyncIterator[Found]:
    """How long and by whom the list of tools may be kept."""
    control = await server.tools(server.target.owner)
    ttl, scope = dig(control.result, "ttlMs"), dig(control.result, "cacheScope")
    if not listed(control):
        yield unclear("ttlMs", f"the control did not succeed: the owner got {control.short}")
        return
    if isinstance(ttl, int | float) and ttl >= DAY:
        yield failed("ttlMs", "clients may keep the list for a day or longer")
    else:
        yield passed("ttlMs", "clients may keep the list for less than a day")
    needed = server.target.owner_token is not None and (await server.tools(ANONYMOUS)).refused
    if needed and scope == "public":
        yield failed("cacheScope", "the list needs a token, but may be kept for everyone")
    else:
        yield passed("cacheScope", "the list is not given to shared caches against its protection")


def digest(tools: list[Any]) -> str:
    """SHA-256 of a list of tools, whatever its order and spacing."""
    texts = sorted(json.dumps(tool, sort_keys=True, separators=(",", ":")) for tool in tools)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


async def pins(server: MCPClient) -> AsyncIterator[Found]:
    """The list of tools: pinned, the same each time, and with each name once."""
    first, again = await server.tools(server.target.owner), await server.tools(server.target.owner)
    if not listed(first) or not listed(again):
        yield unclear("tools", f"the control did not succeed: the owner got {first.short}, then {again.short}")
        return
    tools = dig(first.result, "tools")
    found, pinned = digest(tools), server.target.tools_digest
    if found != digest(dig(again.result, "tools")):
        yield failed("tools", "two lists in a row differ")
    elif pinned is None:
        yield unclear("tools", f"the same twice; pin them with --tools-digest {found}")
    elif found != pinned.lower():
        yield failed("tools", f"not as pinned; the digest is now {found}")
    else:
        yield passed("tools", "as pinned")
    twice = [name for name, number in Counter(str(dig(tool, "name")) for tool in tools).items() if number > 1]
    if twice:
        yield failed("names", f"{len(twice)} name(s) are given to several tools, such as {twice[0]}")
    else:
        yield passed("names", f"{len(tools)} tool(s), each with a name of its own")


PROBES = (
    Probe(
        "mcp-browser", "web pages of other sites are refused", browser,
        how="pass transport_security=TransportSecuritySettings(allowed_hosts=..., allowed_origins=...)",
    ),
    Probe(
        "mcp-version", "unknown and contradicting versions are refused", versions,
        how="answer them with -32022 and -32020, as the SDK does",
    ),
    Probe("mcp-size", "bodies have a limit", size, how="set max_request_body_size"),
    Probe("mcp-depth", "deep nesting does no harm", depth, how="limit the depth of JSON before it is parsed"),
    Probe("mcp-batch", "batches are refused", batch, how="refuse arrays: they get around limits per request"),
    Probe("mcp-cache", "lists are kept for a short time, and privately", caching),
    Probe("mcp-rug-pull", "the tools are the pinned ones", pins),
)  # fmt: skip
