"""Facts about a2a-sdk: one test per finding."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.helpers import new_data_message
from a2a.server.tasks import BasePushNotificationSender, InMemoryPushNotificationConfigStore
from a2a.types import AgentCard, Role, SendMessageRequest
from a2a.utils.push_url_validator import validate_push_notification_url
from facts import a2a_body, code, fact, nested
from servers import Served, a2a_server, serve

VERSION = {"A2A-Version": "1.0"}


def as_(name: str) -> dict[str, str]:
    return {**VERSION, "Authorization": f"Bearer {name}"}


def call(server: Served, method: str, who: str = "", **params: Any) -> dict[str, Any]:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    headers = as_(who) if who else VERSION
    return httpx.post(server.url + "/", json=body, headers=headers, timeout=5).json()


def send(server: Served, data: Any, who: str = "", **message: Any) -> dict[str, Any]:
    return call(server, "SendMessage", who, **a2a_body(data, **message)["params"])


@pytest.fixture(scope="module")
def bare() -> Iterator[Served]:
    with a2a_server(push_config_store=InMemoryPushNotificationConfigStore(), extended=True) as server:
        yield server


@pytest.fixture(scope="module")
def owned() -> Iterator[Served]:
    with a2a_server(owner=True, push_config_store=InMemoryPushNotificationConfigStore(), extended=True) as server:
        yield server


@fact("a2a-replay")
def test_replayed_messages_run_again(bare: Served) -> None:
    before = bare.worker.executions
    tasks = {send(bare, {"a": 1})["result"]["task"]["id"] for _ in range(3)}
    assert (bare.worker.executions - before, len(tasks)) == (3, 3)


def stranger(server: Served) -> dict[str, bool]:
    """Which operations of a stranger on a victim's tasks succeed."""
    victim = send(server, {"wait": True}, "alice")["result"]["task"]["id"]
    other = send(server, {"wait": True}, "alice")["result"]["task"]["id"]
    config = {"taskId": victim, "url": "http://127.0.0.1:9/"}
    with httpx.stream(
        "POST",
        server.url + "/",
        json={"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask", "params": {"id": victim}},
        headers=as_("bob"),
        timeout=5,
    ) as stream:
        subscribed = "result" in next(line for line in stream.iter_lines() if "jsonrpc" in line)
    answers = {
        "get": call(server, "GetTask", "bob", id=victim),
        "push": call(server, "CreateTaskPushNotificationConfig", "bob", **config),
        "pushes": call(server, "ListTaskPushNotificationConfigs", "bob", taskId=victim),
        "continue": send(server, {"a": 9}, "bob", taskId=victim),
        "cancel": call(server, "CancelTask", "bob", id=other),
    }
    assert all("result" in answer or answer["error"]["code"] == -32001 for answer in answers.values()), answers
    listed = bool(call(server, "ListTasks", "bob")["result"].get("tasks"))
    return {"list": listed, "subscribe": subscribed, **{name: "result" in a for name, a in answers.items()}}


@fact("a2a-owner-open")
def test_without_a_hook_tasks_are_anyones(bare: Served) -> None:
    assert all(stranger(bare).values())


@fact("a2a-owner-hook")
def test_with_a_hook_tasks_are_the_owners(owned: Served) -> None:
    assert not any(stranger(owned).values())


@fact("a2a-context")
def test_strangers_enter_contexts(owned: Served) -> None:
    context = send(owned, {"a": 1}, "alice")["result"]["task"]["contextId"]
    assert "result" in send(owned, {"a": 1}, "bob", contextId=context)
    assert ("bob", context) in owned.worker.contexts


@fact("a2a-anonymous")
def test_anonymous_callers_share_an_owner(owned: Served) -> None:
    task = send(owned, {"a": 1})["result"]["task"]["id"]
    assert "result" in call(owned, "GetTask", id=task)


@fact("a2a-half-open")
def test_waiting_tasks_stay() -> None:
    left = {}
    for timeout in (None, 0.05):
        options = {} if timeout is None else {"interrupted_task_timeout": timeout}
        with a2a_server(**options) as server:
            for _ in range(5):
                send(server, {"wait": True})
            time.sleep(0.3)
            handler = server.app.state.handler
            stored = sum(map(len, handler.task_store._impl.tasks.values()))
            left[timeout] = (len(handler._active_task_registry._active_tasks), stored)
    assert left == {None: (5, 5), 0.05: (0, 5)}


def pushed(validator: Any, url: str) -> dict[str, Any]:
    """Send a task whose updates go to ``url``. Value: the answer."""
    store = InMemoryPushNotificationConfigStore()
    sender = BasePushNotificationSender(httpx.AsyncClient(trust_env=False), store, push_url_validator=validator)
    with a2a_server(push_config_store=store, push_sender=sender, push_url_validator=validator) as server:
        body = a2a_body()["params"]
        body["configuration"] = {
            "taskPushNotificationConfig": {
                "url": url,
                "authentication": {"scheme": "Basic", "credentials": "chosen-by-caller"},
            }
        }
        answer = call(server, "SendMessage", **body)
        time.sleep(0.2)
        return answer


@pytest.fixture
def sink() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """An HTTP server that keeps the headers of what it is sent."""
    got: list[dict[str, str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        got.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with serve(lambda url: app, lifespan="off") as server:
        yield server.url, got


@fact("a2a-push")
def test_pushes_go_anywhere(sink: tuple[str, list[dict[str, str]]]) -> None:
    url, got = sink
    assert "result" in pushed(None, url + "/internal")
    assert len(got) == 4
    assert got[0]["authorization"] == "Basic chosen-by-caller"
    got.clear()
    assert pushed(validate_push_notification_url, url + "/internal")["error"]["code"] == -32602
    assert got == []


@fact("a2a-push-rebinding")
def test_push_hosts_are_resolved_twice(sink: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    url, got = sink
    asked = []
    resolve = socket.getaddrinfo

    def rebinding(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
        if host not in ("rebinding.test", b"rebinding.test"):
            return resolve(host, port, *rest, **named)
        asked.append(host)
        public = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", int(port)))]
        # the handler's check and the sender's check see a public address, the HTTP client an internal one
        return resolve("127.0.0.1", port, *rest, **named) if len(asked) > 2 else public

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert "result" in pushed(validate_push_notification_url, url.replace("127.0.0.1", "rebinding.test"))
    assert got


@fact("a2a-card-origin")
def test_cards_lead_credentials_elsewhere() -> None:
    with serve(lambda url: recorder, lifespan="off") as other:

        def elsewhere(card: AgentCard) -> AgentCard:
            card.supported_interfaces[0].url = other.url + "/"
            return card

        seen.clear()
        with a2a_server(card=elsewhere) as server:
            asyncio.run(_follow(server.url))
    assert seen == ["Bearer secret"]


seen: list[str] = []


async def recorder(scope: Any, receive: Any, send: Any) -> None:
    seen.append(dict(scope["headers"])[b"authorization"].decode())
    await send({"type": "http.response.start", "status": 400, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _follow(url: str) -> None:
    async with httpx.AsyncClient(headers={"Authorization": "Bearer secret"}) as http:
        client = await ClientFactory(ClientConfig(streaming=False, httpx_client=http)).create_from_url(url)
        with pytest.raises(Exception, match="400"):
            async for _ in client.send_message(SendMessageRequest(message=new_data_message({}, role=Role.ROLE_USER))):
                pass


@fact("a2a-extended-card")
def test_extended_card_is_anyones(bare: Served, owned: Served) -> None:
    for server in (bare, owned):
        assert call(server, "GetExtendedAgentCard")["result"]["skills"][0]["description"] == "SECRET internal skill"


@fact("a2a-lenient")
def test_what_parsing_forgives(bare: Served) -> None:
    def post(body: Any) -> httpx.Response:
        return httpx.post(bare.url + "/", headers=VERSION, **body)

    odd = a2a_body(owner="root")
    odd["params"]["sudo"] = 1
    odd["params"]["message"]["parts"][0]["exec"] = "rm"
    raw = json.dumps(a2a_body())
    twice = post({"content": raw.replace('"a": 2', '"a": 2, "a": 1000')})
    assert code(post({"json": odd})) == 0
    assert twice.json()["result"]["task"]["artifacts"][0]["parts"][0]["data"]["sum"] == 1003
    assert code(post({"json": {**a2a_body(), "sudo": 1}})) == -32600
    assert code(post({"json": a2a_body(role="ROLE_EVIL")})) == -32602
    assert code(post({"content": raw.replace('"a": 2', '"a": NaN')})) == -32603
    assert code(post({"json": a2a_body(parts=[])})) == -32602
    assert code(post({"json": [a2a_body()]})) == -32600


@fact("a2a-depth")
def test_deep_nesting_is_refused(bare: Served) -> None:
    for depth, expected in ((500, -32602), (5000, -32603)):
        body = nested(a2a_body(), '"a": 2', depth)
        assert code(httpx.post(bare.url + "/", content=body, headers=VERSION)) == expected
    assert "result" in send(bare, {"a": 1})


@fact("a2a-size")
def test_bodies_have_no_limit(bare: Served) -> None:
    answer = httpx.post(bare.url + "/", json=a2a_body({"pad": "x" * 6_000_000}), headers=VERSION, timeout=20)
    assert code(answer) == 0
    assert len(answer.content) > 12_000_000


CROSS = {"content-type": "text/plain", "origin": "http://evil.example", "host": "evil.example"}


@fact("a2a-browser")
def test_foreign_origins_run(bare: Served) -> None:
    body = json.dumps(a2a_body())
    assert code(httpx.post(bare.url + "/", content=body, headers={**VERSION, **CROSS})) == 0
    assert code(httpx.post(bare.url + "/", content=body, headers=CROSS)) == -32009


@fact("a2a-compat-browser")
def test_simple_requests_run_under_compatibility() -> None:
    old = {"kind": "message", "messageId": "m", "role": "user", "parts": [{"kind": "data", "data": {"a": 1}}]}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": old}})
    with a2a_server(compat=True) as server:
        assert code(httpx.post(server.url + "/", content=body, headers=CROSS)) == 0
        assert server.worker.executions == 1


@fact("a2a-version")
def test_versions(bare: Served) -> None:
    for version, expected in ((None, -32009), ("0.3", -32009), ("2.0", -32009), ("1.99", 0)):
        headers = {} if version is None else {"A2A-Version": version}
        assert code(httpx.post(bare.url + "/", json=a2a_body(), headers=headers)) == expected, version


class _Cut(httpx.AsyncByteStream):
    """A stream of events without the final one."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __aiter__(self) -> Any:
        async for chunk in self.inner:
            for event in chunk.replace(b"\r\n", b"\n").split(b"\n\n"):
                if event.strip() and b"COMPLETED" not in event:
                    yield event + b"\n\n"


class _CutTransport(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=_Cut(answer.stream), request=request)


@fact("a2a-stream-cut")
def test_cut_streams_end_without_an_error() -> None:
    async def states(url: str) -> list[str]:
        async with httpx.AsyncClient() as plain, httpx.AsyncClient(transport=_CutTransport()) as http:
            card = await A2ACardResolver(plain, url).get_agent_card()
            client = ClientFactory(ClientConfig(streaming=True, httpx_client=http)).create(card)
            message = new_data_message({"steps": 2}, role=Role.ROLE_USER)
            return [str(event) async for event in client.send_message(SendMessageRequest(message=message))]

    with a2a_server() as server:
        seen = asyncio.run(states(server.url))
    assert len(seen) >= 4
    assert not any("COMPLETED" in event for event in seen)
