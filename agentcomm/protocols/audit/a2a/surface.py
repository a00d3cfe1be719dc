"""What the endpoint processes: versions, web pages, large, deep and batched bodies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from uuid import uuid4

from agentcomm.protocols.audit.a2a.client import VERSION, A2AClient, deep, processed
from agentcomm.protocols.audit.probes import Found, Probe, compared, failed, passed, unclear

EVIL = "http://evil.example"
PLAIN = {"content-type": "text/plain", "origin": EVIL}


async def versions(agent: A2AClient) -> AsyncIterator[Found]:
    """A version that the protocol does not have."""
    owner = agent.target.owner
    control, attempt = await agent.ping(owner), await agent.ping(owner, {"a2a-version": "99.0"})
    yield compared("A2A-Version: 99.0", control, processed(control), attempt, processed(attempt))


async def browser(agent: A2AClient) -> AsyncIterator[Found]:
    """Requests that a web page of another site could cause, and those after DNS rebinding."""
    owner = agent.target.owner
    control = await agent.ping(owner)
    for where, headers in (("Origin", {"origin": EVIL}), ("Host", {"host": "evil.example"})):
        attempt = await agent.ping(owner, {**VERSION, **headers})
        yield compared(where, control, processed(control), attempt, processed(attempt))


async def simple_request(agent: A2AClient) -> AsyncIterator[Found]:
    """A request that a browser sends to another site without asking first: no A2A-Version header."""
    owner, control = agent.target.owner, await agent.ping(agent.target.owner)
    for where, body in (
        ("GetTask", agent.ping_body()),
        ("tasks/get (0.3)", agent.body("tasks/get", id=str(uuid4()))),
    ):
        attempt = await agent.post(body, owner, PLAIN)
        yield compared(where, control, processed(control), attempt, processed(attempt))


async def size(agent: A2AClient) -> AsyncIterator[Found]:
    """A small request followed by spaces."""
    owner, most = agent.target.owner, agent.target.limits.sent_bytes
    control = await agent.ping(owner)
    attempt = await agent.post(json.dumps(agent.ping_body()).encode() + b" " * most, owner)
    where = f"{most >> 20} MiB"
    if processed(control) and "no answer" in attempt.problem and processed(await agent.ping(owner)):
        yield passed(where, "the server hung up, and answers others")
    else:
        yield compared(where, control, processed(control), attempt, processed(attempt))


async def depth(agent: A2AClient) -> AsyncIterator[Found]:
    """Nested lists, after which the server must still answer."""
    owner = agent.target.owner
    control = await agent.ping(owner)
    attempt = await agent.post(deep(5000), owner)
    after = await agent.ping(owner)
    where = "5,000 nested lists"
    if not processed(control):
        yield unclear(where, f"the control did not succeed: {control.short}")
    elif processed(after):
        yield passed(where, f"{attempt.short}; the server still answers")
    else:
        yield failed(where, f"the server does not answer any more: {after.short}")


async def batch(agent: A2AClient) -> AsyncIterator[Found]:
    """Two requests in one body, which A2A does not have."""
    owner = agent.target.owner
    control = await agent.ping(owner)
    attempt = await agent.post([agent.ping_body(), agent.ping_body()], owner)
    served = isinstance(attempt.message, list) and len(attempt.message) > 0
    yield compared("batch", control, processed(control), attempt, served)


PROBES = (
    Probe(
        "a2a-version", "unknown versions are refused", versions,
        how="answer versions other than 1.x with -32009, as the SDK does",
    ),
    Probe("a2a-browser", "web pages of other sites are refused", browser),
    Probe("a2a-compat-browser", "requests that browsers send without asking are refused", simple_request),
    Probe("a2a-size", "bodies have a limit", size),
    Probe("a2a-depth", "deep nesting does no harm", depth, how="limit the depth of JSON before it is parsed"),
    Probe("a2a-batch", "batches are refused", batch, how="refuse arrays: they get around limits per request"),
)  # fmt: skip
