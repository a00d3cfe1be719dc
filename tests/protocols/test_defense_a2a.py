"""Attacks on a real A2A server that work on the bare SDK, and that a defense stops while honest callers are served."""

import asyncio
import json

import httpx
import pytest
from a2a.types import GetExtendedAgentCardRequest, TaskState
from a2a.utils.errors import A2AError

from agentcomm.protocols.attacks.a2a_lab import (
    A2AParts,
    agent_card,
    client,
    result_of,
    send,
    server,
    task_of,
)
from agentcomm.protocols.defenses.a2a_claims import SignedHandler
from agentcomm.protocols.defenses.a2a_server import ProtectedHandler
from agentcomm.protocols.defenses.catalog_a2a import A2A
from agentcomm.protocols.defenses.catalog_parts import DerivedKeys
from agentcomm.protocols.defenses.claims import Verifier
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.once import Once
from agentcomm.protocols.defenses.store import Store
from agentcomm.protocols.serving import serve

REFUSED = (A2AError, RefusedError, httpx.HTTPStatusError)


def parts(*names):
    made = A2AParts()
    for name in names:
        for defend in A2A[name]:
            defend(made)
    return made


def bare_and(*names):
    """One run on the bare SDK, where the attack works, and one with each defense, where it is stopped."""
    return pytest.mark.parametrize("name", [None, *names])


def setting(name):
    return parts(*([name] if name else ["owners"]))


class Recorder(httpx.AsyncBaseTransport):
    """The network as an attacker sees it; ``edit`` changes bodies on their way."""

    def __init__(self, inner, edit=lambda body: body):
        self.inner, self.edit, self.sent = inner, edit, []

    async def handle_async_request(self, request):
        body = await request.aread()
        changed = self.edit(body)
        if request.method == "POST":
            self.sent.append((str(request.url), dict(request.headers), body))
        if changed != body:
            headers = {k: v for k, v in request.headers.items() if k != "content-length"}
            request = httpx.Request(request.method, request.url, headers=headers, content=changed)
        return await self.inner.handle_async_request(request)

    async def again(self, times=1):
        async with httpx.AsyncClient() as http:
            url, headers, body = self.sent[-1]
            return [await http.post(url, headers=headers, content=body) for _ in range(times)]


@pytest.mark.parametrize("streaming", [False, True])
@bare_and("claims_hmac", "claims_ed25519", "http_signatures", "once")
def test_replay(name, streaming):
    async def main():
        made, seen = setting(name), []
        async with server(made) as running:
            network = lambda inner: seen.append(Recorder(inner)) or seen[-1]  # noqa: E731
            async with client(made, running.url, "alice", streaming, network) as alice:
                events = await send(alice, {"a": 2, "b": 3})
                answers = await seen[0].again(2)
                replayed = len(running.worker.calls) - 1
                assert len(await send(alice, {"a": 2, "b": 3})) == len(events)
        assert len(running.worker.calls) == replayed + 2
        return replayed, [answer.text for answer in answers]

    replayed, answers = asyncio.run(main())
    assert replayed == (0 if name else 2)
    if name == "once":
        assert all("COMPLETED" in answer for answer in answers)


@bare_and("claims_hmac", "claims_ed25519", "http_signatures")
@pytest.mark.parametrize("streaming", [False, True])
def test_edits_on_the_path(name, streaming):
    async def main():
        made = setting(name)
        edit = lambda body: body.replace(b'"a":2', b'"a":9').replace(b'"a": 2', b'"a": 9')  # noqa: E731
        async with server(made) as running:
            async with client(made, running.url, "alice", streaming, lambda inner: Recorder(inner, edit)) as alice:
                try:
                    await send(alice, {"a": 2, "b": 3})
                except REFUSED:
                    assert name
                assert [data["a"] for *_, data in running.worker.calls] == ([] if name else [9])
            async with client(made, running.url, "alice", streaming) as alice:
                await send(alice, {"a": 2, "b": 3})
                assert running.worker.calls[-1][2]["a"] == 2

    asyncio.run(main())


@pytest.mark.parametrize("field", ["task_id", "context_id", "push", "metadata"])
def test_claims_cover_the_whole_request(field):
    async def main():
        made = parts("claims_hmac")

        def edit(body):
            if body:
                sent = json.loads(body)
                message = sent["params"]["message"]
                if field == "push":
                    sent["params"]["configuration"]["taskPushNotificationConfig"] = {"url": "http://evil.example/"}
                elif field == "metadata":
                    message["metadata"]["more"] = 1
                else:
                    message[{"task_id": "taskId", "context_id": "contextId"}[field]] = "chosen"
                return json.dumps(sent).encode()
            return body

        async with server(made) as running:
            async with client(made, running.url, "alice", network=lambda inner: Recorder(inner, edit)) as alice:
                with pytest.raises(A2AError, match="not the one that was signed"):
                    await send(alice, {"a": 2, "b": 3})
            assert not running.worker.calls

    asyncio.run(main())


def test_claims_of_another_caller_are_refused():
    async def main():
        made, seen = parts("claims_hmac"), []

        class Cut(Recorder):
            async def handle_async_request(self, request):
                if request.method == "POST":
                    self.sent.append((str(request.url), dict(request.headers), await request.aread()))
                    raise httpx.ConnectError("cut")
                return await self.inner.handle_async_request(request)

        async with server(made) as running:
            network = lambda inner: seen.append(Cut(inner)) or seen[-1]  # noqa: E731
            async with client(made, running.url, "alice", network=network) as alice:
                with pytest.raises(Exception, match="cut"):
                    await send(alice, {"a": 1})
            seen[0].sent[-1][1]["authorization"] = "Bearer bob"
            (answer,) = await seen[0].again()
            assert "not by the caller" in answer.text
            assert not running.worker.calls

    asyncio.run(main())


def test_a_stranger_s_same_id_gets_nothing_of_the_other_s():
    async def main():
        made = parts("once")
        async with (
            server(made) as running,
            client(made, running.url, "alice") as alice,
            client(made, running.url, "bob") as bob,
        ):
            first = await asyncio.gather(*(send(alice, {"a": 2, "b": 3}, message_id="m") for _ in range(3)))
            assert len(running.worker.calls) == 1
            assert len({task_of(events).id for events in first}) == 1
            assert result_of(await send(bob, {"a": 1, "b": 1}, message_id="m")) == {"sum": 2.0}
            with pytest.raises(A2AError, match="another message"):
                await send(alice, {"a": 9, "b": 9}, message_id="m")
        assert len(running.worker.calls) == 2

    asyncio.run(main())


def test_stores_that_are_down_refuse_every_message():
    class Down(Store):
        def _update(self, *_):
            raise OSError("disk gone")

    async def main():
        made = parts("once")
        made.handler_options["once"] = Once(Down())
        signed = parts("claims_hmac")
        signed.handler = SignedHandler
        signed.handler_options["verifier"] = Verifier("worker", DerivedKeys("hmac"), Down())
        for down in (made, signed):
            async with server(down) as running, client(down, running.url, "alice") as alice:
                with pytest.raises(A2AError, match="store of a defense failed"):
                    await send(alice, {"a": 1})
                assert not running.worker.calls

    asyncio.run(main())


def test_signed_and_protected_combine():
    class Handler(SignedHandler, ProtectedHandler):
        """Both."""

    async def main():
        made = parts("claims_hmac")
        made.handler = Handler
        made.handler_options["verifier"] = Verifier("worker", DerivedKeys("hmac"))
        async with server(made) as running, client(made, running.url, "alice") as alice:
            first = task_of(await send(alice, {"a": 2, "b": 3}, message_id="m"))
            assert task_of(await send(alice, {"a": 2, "b": 3}, message_id="m")).id == first.id
            assert len(running.worker.calls) == 1
            with pytest.raises(A2AError, match="unknown context"):
                await send(alice, {"a": 2, "b": 3}, context_id="chosen")
            async with client(A2AParts(), running.url, "alice") as bare:
                with pytest.raises(A2AError, match="not signed"):
                    await send(bare, {"a": 2, "b": 3})

    asyncio.run(main())


@bare_and("contexts")
def test_context_of_a_victim(name):
    async def main():
        made = setting(name)
        async with (
            server(made) as running,
            client(made, running.url, "alice") as alice,
            client(made, running.url, "bob") as bob,
        ):
            context = task_of(await send(alice, {"remember": "secret"})).context_id
            try:
                stolen = result_of(await send(bob, {"recall": True}, context_id=context)).get("memory")
            except A2AError:
                stolen = None
            assert stolen == (None if name else "secret")
            assert result_of(await send(alice, {"recall": True}, context_id=context))["memory"] == "secret"
            parked = task_of(await send(alice, {"wait": True}))
            done = await send(alice, {"a": 1, "b": 1}, task_id=parked.id)
            assert task_of(done).status.state == TaskState.TASK_STATE_COMPLETED

    asyncio.run(main())


@bare_and("timeouts")
def test_half_open_tasks(name):
    async def main():
        made = setting(name)
        async with server(made) as running, client(made, running.url, "alice") as alice:
            for _ in range(20):
                await send(alice, {"wait": True})
            await asyncio.sleep(0.6)
            assert result_of(await send(alice, {"a": 1, "b": 1})) == {"sum": 2.0}
            registry = running.handler._active_task_registry._active_tasks
            if name:
                assert len(registry) <= 1
                assert len(running.handler.task_store) == 1
            else:
                assert len(registry) >= 20

    asyncio.run(main())


@bare_and("cards")
def test_card_that_names_another_origin(name):
    async def main():
        made, stolen = setting(name), []

        async def sink(scope, receive, send_):
            stolen.append(dict(scope["headers"]).get(b"authorization"))
            await send_({"type": "http.response.start", "status": 500, "headers": []})
            await send_({"type": "http.response.body", "body": b""})

        async with serve(lambda _: sink) as evil, server(made) as honest:
            async with server(A2AParts(), card=lambda _: agent_card(f"{evil}/")) as lying:
                with pytest.raises((RefusedError, A2AError, Exception)):
                    async with client(made, lying.url, "alice") as alice:
                        await send(alice, {"a": 1})
            assert stolen == ([] if name else [b"Bearer alice"])
            async with client(made, honest.url, "alice") as alice:
                assert result_of(await send(alice, {"a": 1, "b": 1})) == {"sum": 2.0}

    asyncio.run(main())


@bare_and("possession")
def test_copied_card(name):
    async def main():
        made = setting(name)
        async with server(made) as honest:

            def copied(url):
                card = agent_card(url)
                card.CopyFrom(honest.card)
                card.supported_interfaces[0].url = url
                return card

            relay = A2AParts(middleware=[lambda app: relayed(app, honest.url)])
            async with server(relay, card=copied) as copier:
                try:
                    async with client(made, copier.url, "alice") as alice:
                        await send(alice, {"a": 1})
                    fooled = len(copier.worker.calls)
                except RefusedError:
                    fooled = 0
            assert fooled == (0 if name else 1)
            async with client(made, honest.url, "alice") as alice:
                assert result_of(await send(alice, {"a": 1, "b": 1})) == {"sum": 2.0}

    asyncio.run(main())


def relayed(app, victim):
    """A copier that relays the challenge to the true holder of the card."""

    async def wrapped(scope, receive, send_):
        if scope["type"] != "http" or "possession" not in scope["path"]:
            return await app(scope, receive, send_)
        async with httpx.AsyncClient() as http:
            answer = await http.get(victim + scope["path"] + "?" + scope["query_string"].decode())
        await send_({"type": "http.response.start", "status": answer.status_code, "headers": []})
        await send_({"type": "http.response.body", "body": answer.content})

    return wrapped


@bare_and("extended_card")
def test_extended_card_for_anonymous_callers(name):
    async def main():
        made = setting(name)
        card = lambda url: agent_card(url, extended_agent_card=True)  # noqa: E731
        secret = agent_card("http://127.0.0.1:1/", "secret", extended_agent_card=True)

        async def read(user):
            async with client(made, running.url, user) as caller:
                return (await caller.get_extended_agent_card(GetExtendedAgentCardRequest())).name

        async with server(made, card=card, extended_agent_card=secret) as running:
            if name:
                with pytest.raises(A2AError, match="authentication"):
                    await read("")
            else:
                assert await read("") == "secret"
            assert await read("alice") == "secret"

    asyncio.run(main())
