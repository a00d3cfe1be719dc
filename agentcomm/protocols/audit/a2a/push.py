"""Push notifications to an address that only the server's own machine reaches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from agentcomm.protocols.audit.a2a.access import no_task
from agentcomm.protocols.audit.a2a.client import A2AClient, sent
from agentcomm.protocols.audit.probes import Found, Probe, failed, passed, skipped, unclear

WAIT = 2.0  # seconds until a push must have arrived


@asynccontextmanager
async def sink(path: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A server on loopback that notes whether anybody asked for a path, and reads nothing else."""
    hit = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(WAIT):
                line = await reader.readline()  # at most 64 KiB
                if path.encode() in line:
                    hit.set()
                writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}", hit
    finally:
        server.close()


async def internal(agent: A2AClient) -> AsyncIterator[Found]:
    """A message whose updates are to be pushed to loopback."""
    where = "SendMessage"
    if not agent.can("pushNotifications"):
        yield skipped(where, "the card claims no push notifications")
        return
    if agent.target.remote:
        yield skipped(where, "needs the server on this machine, where the audit listens; audit it there")
        return
    owner = agent.target.owner
    control = await agent.send(owner)
    if control.task is None:
        yield no_task(where, control)
        return
    content = agent.target.message
    part = {"text": content} if isinstance(content, str) else {"data": content}
    async with sink(f"/{uuid4().hex}") as (url, hit):
        attempt = await agent.call(
            where, owner,
            message={"messageId": str(uuid4()), "role": "ROLE_USER", "parts": [part]},
            configuration={"taskPushNotificationConfig": {"url": url}},
        )  # fmt: skip
        if sent(attempt).served:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(hit.wait(), WAIT)
    if hit.is_set():
        yield failed(where, "the server sent the task's update to an address on loopback")
    elif attempt.refused:
        yield passed(where, f"an address on loopback is refused ({attempt.short}); a message without it is served")
    else:
        yield unclear(where, f"an address on loopback was accepted, but nothing arrived in {WAIT:.0f} s")


PROBES = (Probe("a2a-push", "nothing is pushed to internal addresses", internal, changes=True),)
