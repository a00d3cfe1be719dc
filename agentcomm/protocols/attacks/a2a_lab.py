"""A small A2A system of the official SDK, on loopback: a scripted worker, its server, and clients that call it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from a2a.client import Client, ClientConfig, ClientFactory
from a2a.client.interceptors import ClientCallInterceptor
from a2a.helpers import new_data_message, new_data_part, new_task_from_user_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    Role,
    SendMessageRequest,
    StreamResponse,
    Task,
)
from google.protobuf.json_format import MessageToDict
from starlette.applications import Starlette
from starlette.types import ASGIApp

from agentcomm.protocols.attacks.base import ProtocolAttack
from agentcomm.protocols.serving import serve

TIMEOUT = 60.0  # seconds; longer than an attack waits for a call, so that it sees what did not end


@dataclass(frozen=True)
class Connection:
    """What a client is made of.

    Attributes:
        url: URL whose agent card the client asks for.
        user: Name of the calling principal; empty for an anonymous caller.
        http: The HTTP client, which sends the principal's credentials with every request.
        streaming: Whether messages are sent as streams.
        interceptors: Interceptors of the client.
    """

    url: str
    user: str
    http: httpx.AsyncClient
    streaming: bool
    interceptors: list[ClientCallInterceptor]


async def connect(connection: Connection) -> Client:
    """A client as the SDK's tutorial makes it: fetch the agent card of a URL, and follow it."""
    config = ClientConfig(streaming=connection.streaming, httpx_client=connection.http)
    return await ClientFactory(config).create_from_url(connection.url, interceptors=connection.interceptors)


@dataclass
class A2AParts:
    """Parts of servers and clients, which defenses change before they are put together.

    Attributes:
        handler: Class of the server's request handler.
        handler_options: Keyword arguments of the handler besides executor, task store and card.
        route_options: Keyword arguments of ``create_jsonrpc_routes``, such as ``context_builder``.
        executors: Wrappers around the server's executor; the last is the outermost.
        middleware: ASGI middleware of the server; the last is the outermost.
        sign_card: Changes the server's card before it is published; given the card.
        interceptors: Interceptors of the client of a principal; given its name.
        http: Wrappers around a client's HTTP transport; given the transport and the principal's name.
        connect: Makes a client, including the fetch and the checks of the agent card.
        wrap_client: Wrappers around the client that callers use; the last is the outermost.
    """

    handler: type[DefaultRequestHandler] = DefaultRequestHandler
    handler_options: dict[str, Any] = field(default_factory=dict)
    route_options: dict[str, Any] = field(default_factory=dict)
    executors: list[Callable[[AgentExecutor], AgentExecutor]] = field(default_factory=list)
    middleware: list[Callable[[ASGIApp], ASGIApp]] = field(default_factory=list)
    sign_card: list[Callable[[AgentCard], None]] = field(default_factory=list)
    interceptors: list[Callable[[str], ClientCallInterceptor]] = field(default_factory=list)
    http: list[Callable[[httpx.AsyncBaseTransport, str], httpx.AsyncBaseTransport]] = field(default_factory=list)
    connect: Callable[[Connection], Awaitable[Client]] = connect
    wrap_client: list[Callable[[Client], Client]] = field(default_factory=list)


class A2AAttack(ProtocolAttack[A2AParts]):
    """An attack on A2A; most attack the SDK's defaults."""

    protocol = "a2a"

    def parts(self) -> A2AParts:
        """The undefended parts; the SDK's defaults unless an attack is about something else."""
        return A2AParts()


class Worker(AgentExecutor):
    """Adds two numbers; remembers what callers say in a context; parks tasks that wait for input.

    The data part of a message says what to do: ``a`` and ``b`` are added, ``wait`` parks the task, ``remember`` stores
    a value for the context, and ``recall`` answers with it.

    Attributes:
        calls: (user, context, data) of every execution.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.memory: dict[str, Any] = {}

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Carry out a message."""
        message = context.message
        assert message is not None
        data = MessageToDict(message.parts[0].data) if message.parts[0].HasField("data") else {}
        user = context.call_context.user.user_name if context.call_context else ""
        self.calls.append((user, context.context_id or "", data))
        task = context.current_task or new_task_from_user_message(message)
        if context.current_task is None:  # a parked task that is sent again would end the call at once
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        if data.get("wait"):
            await updater.requires_input()
            return
        await updater.start_work()
        if "remember" in data:
            self.memory[task.context_id] = data["remember"]
        answer = {"sum": data.get("a", 0) + data.get("b", 0)}
        if data.get("recall"):
            answer["memory"] = self.memory.get(task.context_id)
        await updater.add_artifact([new_data_part(answer)], name="result")
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancel a task."""
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()


def agent_card(url: str, name: str = "worker", **capabilities: Any) -> AgentCard:
    """The card of a worker whose JSON-RPC interface is at a URL."""
    return AgentCard(
        name=name,
        description="adds two numbers",
        version="1",
        capabilities=AgentCapabilities(streaming=True, **capabilities),
        supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")],
        default_input_modes=["application/json"],
        default_output_modes=["application/json"],
        skills=[AgentSkill(id="add", name="add", description="adds two numbers", tags=["math"])],
    )


@dataclass
class A2AServer:
    """A running server.

    Attributes:
        url: Its URL.
        worker: The executor, without its wrappers.
        handler: The request handler.
        card: The published card.
    """

    url: str
    worker: Any
    handler: DefaultRequestHandler
    card: AgentCard


@contextlib.asynccontextmanager
async def server(
    parts: A2AParts,
    worker: AgentExecutor | None = None,
    card: Callable[[str], AgentCard] = agent_card,
    **options: Any,
) -> AsyncIterator[A2AServer]:
    """Serve a worker on loopback.

    Args:
        parts: Parts, changed by defenses.
        worker: The executor; a :class:`Worker` when not given.
        card: Makes the card from the server's URL.
        options: Keyword arguments of the request handler that belong to the attack, not to a defense.
    """
    inner = worker or Worker()
    outer = inner
    for wrap in parts.executors:
        outer = wrap(outer)
    made: list[A2AServer] = []

    def build(url: str) -> ASGIApp:
        published = card(f"{url}/")
        for change in parts.sign_card:
            change(published)
        handler = parts.handler(
            agent_executor=outer,
            task_store=InMemoryTaskStore(),
            agent_card=published,
            **(options | parts.handler_options),
        )
        made.append(A2AServer(url, inner, handler, published))
        routes = create_agent_card_routes(published) + create_jsonrpc_routes(handler, "/", **parts.route_options)
        app: ASGIApp = Starlette(routes=routes)
        for layer in parts.middleware:
            app = layer(app)
        return app

    async with serve(build):
        try:
            yield made[0]
        finally:
            await made[0].handler.aclose()


@contextlib.asynccontextmanager
async def client(
    parts: A2AParts,
    url: str,
    user: str = "",
    streaming: bool = False,
    network: Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport] | None = None,
) -> AsyncIterator[Client]:
    """A client that asks a URL for its card and follows it.

    Args:
        parts: Parts, changed by defenses.
        url: URL of the server.
        user: Principal, sent as a bearer token; empty for an anonymous caller.
        streaming: Whether messages are sent as streams.
        network: What an attacker on the path makes of the transport below all defenses.
    """
    transport: httpx.AsyncBaseTransport = httpx.AsyncHTTPTransport()
    if network is not None:
        transport = network(transport)
    for wrap in parts.http:
        transport = wrap(transport, user)
    headers = {"Authorization": f"Bearer {user}"} if user else {}
    async with httpx.AsyncClient(transport=transport, timeout=TIMEOUT, headers=headers) as http:
        interceptors = [make(user) for make in parts.interceptors]
        made = await parts.connect(Connection(url, user, http, streaming, interceptors))
        for wrapper in parts.wrap_client:
            made = wrapper(made)
        yield made


def request(data: dict[str, Any], **ids: str) -> SendMessageRequest:
    """A request to send a data part; ``ids`` are fields of the message, such as ``context_id``."""
    message = new_data_message(data, role=Role.ROLE_USER)
    for name, value in ids.items():
        setattr(message, name, value)
    return SendMessageRequest(message=message)


async def send(caller: Client, data: dict[str, Any], **ids: str) -> list[StreamResponse]:
    """Send a data part, and collect the events of the answer."""
    return [event async for event in caller.send_message(request(data, **ids))]


def task_of(events: list[StreamResponse]) -> Task:
    """The task that the last event of a call without streaming carries."""
    return events[-1].task


def result_of(events: list[StreamResponse]) -> dict[str, Any]:
    """The data of the first artifact; empty if there is none."""
    artifacts = task_of(events).artifacts
    return MessageToDict(artifacts[0].parts[0].data) if artifacts else {}
