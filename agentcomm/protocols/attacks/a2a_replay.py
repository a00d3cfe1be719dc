"""replay: send a recorded A2A request again, byte by byte."""

from __future__ import annotations

import httpx

from agentcomm.protocols.attacks.a2a_lab import A2AParts, client, result_of, send, server
from agentcomm.protocols.attacks.base import Outcome, ProtocolAttack


class Recorder(httpx.AsyncBaseTransport):
    """Keeps the requests of one client that carry a JSON-RPC call."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Record and forward."""
        if request.method == "POST":
            self.seen.append(httpx.Request("POST", request.url, headers=request.headers, content=await request.aread()))
        return await self.inner.handle_async_request(request)


class A2AReplay(ProtocolAttack[A2AParts]):
    """An attacker on the path records the victim's request, credentials included, and sends it twice more."""

    name = "replay"
    protocol = "a2a"
    finding = "a request that is sent three times is executed three times"

    def parts(self) -> A2AParts:
        """The SDK's defaults."""
        return A2AParts()

    async def attempt(self, parts: A2AParts) -> Outcome:
        """Record one request and repeat it."""
        recorder = Recorder(httpx.AsyncHTTPTransport())
        async with server(parts) as target:
            async with client(parts, target.url, "alice", network=lambda _: recorder) as alice:
                answer = result_of(await send(alice, {"a": 2, "b": 3}))
                once = len(target.worker.calls)
                async with httpx.AsyncClient() as attacker:
                    for _ in range(2):
                        await attacker.send(recorder.seen[-1])
            executions = len(target.worker.calls)
        return Outcome(executions > once, answer.get("sum") == 5, {"executions": executions})
