"""Defenses at the edges of a real A2A server: push addresses, bodies, browsers, cut streams, chains of agents."""

import asyncio
import json
import socket
import time

import httpx
import pytest
from a2a.server.agent_execution import AgentExecutor
from a2a.server.tasks import BasePushNotificationSender, InMemoryPushNotificationConfigStore
from a2a.types import TaskPushNotificationConfig, TaskState
from a2a.utils.errors import A2AError
from a2a.utils.push_url_validator import validate_push_notification_url

from agentcomm.protocols.attacks.a2a_lab import A2AParts, Worker, agent_card, client, request, result_of, send, server
from agentcomm.protocols.defenses.a2a_actors import CarryChain, ChainedExecutor
from agentcomm.protocols.defenses.a2a_push import SafePushSender, push_validator, safe_push
from agentcomm.protocols.defenses.actors import Actor, ChainVerifier, asked_under
from agentcomm.protocols.defenses.asgi import CheckOrigin, LimitRequests
from agentcomm.protocols.defenses.catalog_a2a import A2A
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.keys import PrivateKey
from agentcomm.protocols.defenses.origins import origin
from agentcomm.protocols.serving import serve


def bare_and(name):
    """One run on the bare SDK, where the attack works, and one with the defense, where it is stopped."""
    return pytest.mark.parametrize("name", [None, name])


def setting(name):
    made = A2AParts()
    for defend in A2A[name or "owners"]:
        defend(made)
    return made


@pytest.mark.parametrize("sender", ["bare", "validated", "safe"])
def test_push_to_an_internal_address(sender, monkeypatch):
    hits, real, asked = [], socket.getaddrinfo, []

    async def sink(scope, receive, send_):
        hits.append(scope["path"])
        await send_({"type": "http.response.start", "status": 200, "headers": []})
        await send_({"type": "http.response.body", "body": b""})

    def rebinding(host, port, *rest, **options):
        """The attacker's name server: a public address for whoever checks, loopback from then on."""
        if host not in ("rebind.test", b"rebind.test"):
            return real(host, port, *rest, **options)
        asked.append(host)
        address = "93.184.216.34" if len(asked) <= 2 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port)))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)

    async def main():
        async with serve(lambda _: sink) as internal:
            port, store = int(internal.rsplit(":", 1)[1]), InMemoryPushNotificationConfigStore()
            check = validate_push_notification_url if sender == "validated" else None
            push = BasePushNotificationSender(httpx.AsyncClient(timeout=1), store, push_url_validator=check)
            options = {"push_config_store": store, "push_sender": push, "push_url_validator": check}
            if sender == "safe":
                push = SafePushSender(store, [origin(internal)], timeout=0.5)
                options.update(push_sender=push, push_url_validator=push_validator([origin(internal)]))
            made = A2AParts(handler_options=options)
            card = lambda url: agent_card(url, push_notifications=True)  # noqa: E731
            async with server(made, card=card) as running, client(made, running.url) as caller:
                asking = request({"a": 1, "b": 1})
                asking.configuration.task_push_notification_config.CopyFrom(
                    TaskPushNotificationConfig(url=f"http://rebind.test:{port}/internal")
                )
                try:
                    assert [event async for event in caller.send_message(asking)]
                except A2AError:
                    assert sender == "safe"
                await asyncio.sleep(0.7)
                assert bool(hits) == (sender != "safe")
                if sender == "safe":  # an address that was allowed is told
                    asking = request({"a": 1, "b": 1})
                    asking.configuration.task_push_notification_config.url = f"{internal}/hook"
                    assert [event async for event in caller.send_message(asking)]
                    await asyncio.sleep(0.2)
                    assert set(hits) == {"/hook"}

    asyncio.run(main())
    assert safe_push(InMemoryPushNotificationConfigStore())["push_sender"]


async def post(url, body, **headers):
    async with httpx.AsyncClient() as http:
        return await http.post(url, content=body, headers={"A2A-Version": "1.0", **headers})


def body(data, **message):
    part = {"messageId": "m", "role": "ROLE_USER", "parts": [{"data": data}], **message}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": part}})


@bare_and("limits")
def test_unbounded_bodies(name):
    async def main():
        made = setting(name)
        async with server(made) as running:
            large = await post(running.url, body({"pad": "x" * 3_000_000}), **{"content-type": "application/json"})
            deep = body({"a": 0}).replace("0}", "[" * 80 + "]" * 80 + "}")
            nested = await post(running.url, deep, **{"content-type": "application/json"})
            assert (large.status_code, nested.status_code) == ((413, 400) if name else (200, 200))

            async def endless():
                for _ in range(40):
                    yield b"x" * 100_000

            if name:
                chunked = await post(running.url, endless(), **{"content-type": "application/json"})
                assert chunked.status_code == 413
            fine = await post(running.url, body({"a": 1, "b": 1}), **{"content-type": "application/json"})
            assert "COMPLETED" in fine.text

    asyncio.run(main())


@bare_and("browsers")
def test_cross_site_post(name):
    async def main():
        made = setting(name)
        made.route_options["enable_v0_3_compat"] = True
        old = {"kind": "message", "messageId": "m", "role": "user", "parts": [{"kind": "data", "data": {"a": 1}}]}
        simple = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": old}}
        async with server(made) as running, httpx.AsyncClient() as http:
            for change in ({"content-type": "text/plain", "origin": "http://evil.example"}, {"host": "evil.example"}):
                headers = {"content-type": "application/json", **change}
                await http.post(running.url, content=json.dumps(simple), headers=headers)
            assert len(running.worker.calls) == (0 if name else 2)
            other = await http.post(running.url, json=simple, headers={"origin": "http://127.0.0.1:1"})
            own = await http.post(running.url, json=simple, headers={"origin": running.url})  # a page of the server
            assert (other.status_code, own.status_code) == (403 if name else 200, 200)
            async with client(made, running.url, "alice") as alice:
                assert result_of(await send(alice, {"a": 1, "b": 1})) == {"sum": 2.0}

    asyncio.run(main())


class CutStream(httpx.AsyncBaseTransport):
    """Drops the last event of every stream."""

    def __init__(self, inner):
        self.inner = inner

    async def handle_async_request(self, request):
        answer = await self.inner.handle_async_request(request)
        if "event-stream" not in answer.headers.get("content-type", ""):
            return answer
        events = (await answer.aread()).split(b"\r\n\r\n")
        content = b"\r\n\r\n".join([*events[:-2], b""])
        return httpx.Response(answer.status_code, headers={"content-type": "text/event-stream"}, content=content)


@bare_and("streams")
def test_silent_stream_cut(name):
    async def main():
        made = setting(name)
        async with server(made, Worker()) as running:
            async with client(made, running.url, "alice", True, CutStream) as alice:
                if name:
                    with pytest.raises(RefusedError, match="ended before"):
                        await send(alice, {"a": 1, "b": 1})
                else:
                    assert await send(alice, {"a": 1, "b": 1})  # no error
            async with client(made, running.url, "alice", True) as alice:
                last = (await send(alice, {"a": 1, "b": 1}))[-1]
                assert last.status_update.status.state == TaskState.TASK_STATE_COMPLETED

    begin = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - begin < 60


def test_slow_clients_are_let_go():
    async def main():
        made = setting(None)
        made.middleware.append(lambda app: LimitRequests(app, seconds=0.2))
        async with server(made) as running:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rsplit(":", 1)[1]))
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
            answer = await asyncio.wait_for(reader.read(200), 10)
            assert answer.startswith(b"HTTP/1.1 408")
            writer.close()
            async with client(made, running.url) as caller:
                assert result_of(await send(caller, {"a": 1, "b": 1})) == {"sum": 2.0}

    asyncio.run(main())


def test_a_refusal_reads_as_an_error_of_the_protocol():
    async def main():
        made = setting(None)
        made.middleware.append(CheckOrigin)
        async with server(made) as running, httpx.AsyncClient() as http:
            answer = await http.post(running.url, content=b"{}", headers={"content-type": "text/plain"})
            error, named = answer.json()["error"], {"CONTENT_TYPE_NOT_SUPPORTED"}
            assert (answer.status_code, error["code"]) == (415, 415)
            assert {detail["reason"] for detail in error["details"]} == named
            foreign = await http.post(running.url, json={}, headers={"origin": "http://evil.example"})
            assert foreign.json()["error"] == {"code": 403, "message": "pages of that origin may not call this server"}

    asyncio.run(main())


class Delegate(AgentExecutor):
    """Passes its work on: to each of ``names`` in turn, until its budget of calls is used up."""

    def __init__(self, agents, name, names, budget):
        self.agents, self.name, self.names, self.budget, self.calls = agents, name, names, budget, 0

    async def execute(self, context, event_queue):
        self.calls += 1
        if self.calls <= self.budget:
            for other in self.names:
                url, made = self.agents[other]
                async with client(made(self.name), url, self.name) as caller:
                    await send(caller, {"a": 1, "b": 1})
        await Worker().execute(context, event_queue)

    async def cancel(self, context, event_queue):
        """Nothing to cancel."""


@pytest.mark.parametrize("honest", [True, False])
@bare_and("chain")
def test_delegation_cycle_with_re_rooting(name, honest):
    """user -> a -> b, and b sends the work back to a under a chain of its own, until the budget ends."""
    keys = {who: PrivateKey() for who in ("user", "a", "b")}

    def parts(who):
        made = setting(None)
        if name:
            actor = Actor(who, keys[who])
            later = lambda: time.time() + 60  # noqa: E731
            made.interceptors.append(lambda _: CarryChain(actor, lambda card: card.name, later))
            verifier = ChainVerifier(who, {k: v.public for k, v in keys.items()}, {"user"})
            made.executors.append(lambda agent: ChainedExecutor(agent, verifier))
        return made

    async def main():
        agents = {}
        a = Delegate(agents, "a", ["b"], 5)
        b = Delegate(agents, "b", [] if honest else ["a"], 5)
        async with (
            server(parts("a"), a, lambda url: agent_card(url, "a")) as one,
            server(parts("b"), b, lambda url: agent_card(url, "b")) as two,
        ):
            agents |= {"a": (one.url, parts if honest or not name else rerooted), "b": (two.url, parts)}
            async with client(parts("user"), one.url, "user") as user:
                try:
                    answer = result_of(await send(user, {"a": 1, "b": 1}))
                except (A2AError, RefusedError):
                    answer = None
        return a.calls, b.calls, answer

    def rerooted(who):
        """b forgets the chain that it was asked under, and starts one."""
        asked_under.set(())
        return parts(who)

    calls_a, calls_b, answer = asyncio.run(main())
    if honest:
        assert (calls_a, calls_b, answer) == (1, 1, {"sum": 2.0})
    elif name:
        assert (calls_a, calls_b) == (1, 1)
    else:
        assert calls_a > 4
