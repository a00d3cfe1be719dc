"""Attackers on the path of A2A: replayed requests, edited requests and answers, and streams that are cut."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import httpx
from a2a.types import TaskState

from agentcomm.protocols.attacks.a2a_lab import A2AAttack, A2AParts, client, result_of, send, server
from agentcomm.protocols.attacks.base import Outcome
from agentcomm.protocols.attacks.trying import tried
from agentcomm.protocols.onpath import OnPath
from agentcomm.protocols.tampering import read_rules
from agentcomm.protocols.taps import tampered_http

MAX_SEEN = 100


class Recorder(httpx.AsyncBaseTransport):
    """Keeps the last requests of one client that carry a JSON-RPC call."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Record and forward."""
        if request.method == "POST":
            copy = httpx.Request("POST", request.url, headers=request.headers, content=await request.aread())
            self.seen = [*self.seen[-MAX_SEEN:], copy]
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the transport below."""
        await self.inner.aclose()


def on_path(*rules: str) -> Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport]:
    """An attacker around a client's transport; rules as of ``agentcomm proxy --attack``."""
    return lambda inner: tampered_http(httpx, inner, OnPath("a2a", read_rules(rules)))


class Replay(A2AAttack):
    """Records the victim's request, credentials included, and sends it twice more."""

    name = "replay"
    finding = "a request that is sent three times is executed three times"

    async def attempt(self, parts: A2AParts) -> Outcome:
        """Record one request and repeat it."""
        recorder = Recorder(httpx.AsyncHTTPTransport())
        async with server(parts) as target:
            async with client(parts, target.url, "alice", network=lambda _: recorder) as alice:
                asked = await tried(send(alice, {"a": 2, "b": 3}))
                once = len(target.worker.calls)
                async with httpx.AsyncClient() as attacker:
                    for _ in range(2):
                        await attacker.send(recorder.seen[-1])
            executions = len(target.worker.calls)
        honest = asked.worked and result_of(asked.value).get("sum") == 5
        return Outcome(executions > once, honest, {"executions": executions, "honest": asked.word})


class _Edited(A2AAttack):
    """Edits what passes; the subclass says what, and how success is seen."""

    rule: ClassVar[str]

    async def attempt(self, parts: A2AParts) -> Outcome:
        """Call the worker without and with the attacker on the path."""
        async with server(parts) as target:
            async with client(parts, target.url, "alice") as alice:
                plain = await tried(send(alice, {"a": 2, "b": 3}))
            async with client(parts, target.url, "alice", network=on_path(self.rule)) as alice:
                edited = await tried(send(alice, {"a": 2, "b": 3}))
            inputs = [data.get("a") for _, _, data in target.worker.calls]
        answer = result_of(edited.value).get("sum") if edited.worked else None
        honest = plain.worked and result_of(plain.value).get("sum") == 5
        evidence = {"inputs": inputs, "answer": answer, "attacked": edited.word, "honest": plain.word}
        return Outcome(self.worked(inputs, answer), honest, evidence)

    @abstractmethod
    def worked(self, inputs: list[Any], answer: Any) -> bool:
        """Whether the edit had its effect."""


class EditRequest(_Edited):
    """Changes a number in the victim's request."""

    name = "edit_request"
    finding = "an edited request is executed"
    rule = "edit:direction=request,path=params.message.parts.*.data.a,to=40"

    def worked(self, inputs: list[Any], answer: Any) -> bool:
        """Whether the worker executed the edited request."""
        return 40 in inputs


class EditAnswer(_Edited):
    """Changes the result in the worker's answer."""

    name = "edit_answer"
    finding = "an edited answer is accepted"
    rule = "edit:direction=response,path=..sum,to=666"

    def worked(self, inputs: list[Any], answer: Any) -> bool:
        """Whether the client accepted the edited answer."""
        return bool(answer == 666)


class StreamCut(A2AAttack):
    """Drops the last event of a stream."""

    name = "stream_cut"
    finding = "a stream whose last event is dropped ends for the client without an error"

    async def attempt(self, parts: A2AParts) -> Outcome:
        """Follow a stream without and with the attacker on the path."""
        cut = on_path("drop:kind=stream,contains=TASK_STATE_COMPLETED")
        async with server(parts) as target:
            async with client(parts, target.url, "alice", streaming=True) as alice:
                plain = await tried(send(alice, {"a": 2, "b": 3}))
            async with client(parts, target.url, "alice", streaming=True, network=cut) as alice:
                attacked = await tried(send(alice, {"a": 2, "b": 3}))
        honest = plain.worked and _complete(plain.value)
        succeeded = attacked.worked and not _complete(attacked.value)
        return Outcome(succeeded, honest, {"attacked": attacked.word, "honest": plain.word})


def _complete(events: list[Any]) -> bool:
    """Whether a stream said that its task is completed."""
    return any(event.status_update.status.state == TaskState.TASK_STATE_COMPLETED for event in events)
