"""Small real A2A and MCP servers for tests: on a loopback port of the system's choice, in a thread, stopped at the end.

``with a2a_server(owner=True) as server:`` starts one; ``server.url`` is its address and ``server.worker`` counts what
the agent executed. The caller's name is the bearer token: alice sends ``Authorization: Bearer alice``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from a2a.auth.user import User
from a2a.helpers import new_data_part, new_task_from_user_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.routes.common import DefaultServerCallContextBuilder
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from google.protobuf.json_format import MessageToDict
from mcp.server import MCPServer
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import Context
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult
from starlette.applications import Starlette

NEW, OLD = "2026-07-28", "2025-11-25"  # versions of MCP: without and with sessions


@dataclass
class Served:
    """A running server."""

    url: str
    worker: Any = None  # what the server's agent executed
    app: Any = None
    loop: asyncio.AbstractEventLoop | None = None


@contextlib.contextmanager
def serve(build: Callable[[str], Any], **settings: Any) -> Iterator[Served]:
    """Serve the ASGI app that ``build(url)`` returns, in a thread of its own."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    served = Served(url, app=build(url))
    config = uvicorn.Config(served.app, log_level="critical", timeout_graceful_shutdown=1, **settings)
    server = uvicorn.Server(config)

    async def run() -> None:
        served.loop = asyncio.get_running_loop()
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"the server at {url} did not start")
            time.sleep(0.005)
        yield served
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


class Worker(AgentExecutor):
    """An agent that adds: data part {a, b} in, artifact {sum} out. Text is echoed.

    {"wait": true} or the text "wait" leaves the task waiting for input; {"slow": s} works for s seconds; {"steps": n}
    sends n artifacts, 20 ms apart.
    """

    def __init__(self) -> None:
        self.executions = 0
        self.contexts: list[tuple[str, str]] = []  # caller, contextId

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        self.executions += 1
        self.contexts.append((context.call_context.user.user_name, context.context_id))
        task = context.current_task or new_task_from_user_message(context.message)
        if not context.current_task:  # sent again, a waiting task would end a call that does not stream at once
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        part = context.message.parts[0]
        data = MessageToDict(part.data) if part.HasField("data") else {}
        if data.get("wait") or part.text == "wait":
            await updater.requires_input()
            return
        await updater.start_work()
        await asyncio.sleep(data.get("slow", 0))
        for step in range(int(data.get("steps", 0))):
            await asyncio.sleep(0.02)
            await updater.add_artifact([new_data_part({"step": step})], artifact_id=str(step))
        total = data.get("a", 0) + data.get("b", 0)
        await updater.add_artifact([new_data_part({"sum": total, "said": data or part.text})], name="result")
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


class Named(User):
    """The caller that the bearer token names; anonymous without one."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def is_authenticated(self) -> bool:
        return bool(self.name)

    @property
    def user_name(self) -> str:
        return self.name


class Bearer(DefaultServerCallContextBuilder):
    """The SDK's owner hook."""

    def build_user(self, request: Any) -> User:
        return Named(request.headers.get("authorization", "").removeprefix("Bearer "))


def a2a_card(url: str, **capabilities: bool) -> AgentCard:
    """The card of :class:`Worker`."""
    return AgentCard(
        name="worker",
        description="adds",
        version="1",
        capabilities=AgentCapabilities(streaming=True, **capabilities),
        supported_interfaces=[AgentInterface(url=url + "/", protocol_binding="JSONRPC", protocol_version="1.0")],
        default_input_modes=["application/json", "text/plain"],
        default_output_modes=["application/json"],
        skills=[AgentSkill(id="add", name="add", description="adds", tags=["math"])],
    )


@contextlib.contextmanager
def a2a_server(
    *,
    owner: bool = False,  # tasks belong to callers
    compat: bool = False,  # also speak A2A 0.3
    rest: bool = False,  # HTTP+JSON under /v1
    extended: bool = False,  # an extended card, with a secret in it
    card: Callable[[AgentCard], AgentCard] = lambda card: card,  # changes the card, such as by signing it
    handler: type[DefaultRequestHandler] = DefaultRequestHandler,
    middleware: Callable[[Any], Any] = lambda app: app,
    **options: Any,  # of the handler: push_config_store, push_sender, interrupted_task_timeout ...
) -> Iterator[Served]:
    """An A2A 1.0 server with JSON-RPC at ``/``; ``owner=False`` is how the SDK's tutorial leaves it."""
    worker = Worker()

    def build(url: str) -> Any:
        own = card(a2a_card(url, extended_agent_card=extended, push_notifications="push_config_store" in options))
        if extended:
            options["extended_agent_card"] = longer = AgentCard()
            longer.CopyFrom(own)
            longer.skills[0].description = "SECRET internal skill"
        made = handler(agent_executor=worker, task_store=InMemoryTaskStore(), agent_card=own, **options)
        hook = Bearer() if owner else None
        routes = create_agent_card_routes(own)
        routes += create_jsonrpc_routes(made, "/", context_builder=hook, enable_v0_3_compat=compat)
        if rest:
            routes += create_rest_routes(made, context_builder=hook, path_prefix="/v1")
        app = Starlette(routes=routes)
        app.state.handler = made
        return middleware(app)

    with serve(build) as served:
        served.worker = worker
        yield served


class Tokens:
    """A verifier that knows alice and bob."""

    async def verify_token(self, token: str) -> AccessToken | None:
        return AccessToken(token=token, client_id=token, scopes=[]) if token in ("alice", "bob") else None


class Events(EventStore):
    """Events to resume streams from, as the examples of the SDK keep them: by stream id, for all sessions together."""

    def __init__(self, sequential: bool = False) -> None:
        self.events: list[tuple[str, str, Any]] = []  # event id, stream id, message
        self.sequential = sequential

    async def store_event(self, stream_id: str, message: Any) -> str:
        event = str(len(self.events)) if self.sequential else uuid.uuid4().hex
        self.events.append((event, stream_id, message))
        return event

    async def replay_events_after(self, last_event_id: str, send_callback: Any) -> str | None:
        at = next((i for i, (event, _, _) in enumerate(self.events) if event == last_event_id), None)
        if at is None:
            return None
        stream = self.events[at][1]
        for event, other, message in self.events[at + 1 :]:
            if other == stream and message is not None:
                await send_callback(EventMessage(message, event))
        return stream


@dataclass
class Calls:
    """What the tools executed."""

    added: list[tuple[int, int]] = field(default_factory=list)
    paid: list[tuple[str, str | None]] = field(default_factory=list)  # receiver, requestState


def mcp_tools(calls: Calls, name: str = "calc", **settings: Any) -> MCPServer:
    """A server with the tools add, count and pay; pay asks for approval before it pays."""
    server = MCPServer(name, **settings)

    @server.tool(description="Add two integers.")
    def add(a: int, b: int) -> int:
        calls.added.append((a, b))
        return a + b

    @server.tool(description="Pay, once approved.")
    async def pay(to: str, ctx: Context) -> str | InputRequiredResult:
        if not ctx.input_responses:
            form = {"type": "object", "properties": {"yes": {"type": "boolean"}}}
            ask = ElicitRequest(params=ElicitRequestFormParams(message="Pay?", requested_schema=form))
            return InputRequiredResult(input_requests={"ok": ask}, request_state="asked")
        calls.paid.append((to, ctx.request_state))
        return "paid"

    @server.tool(description="Count the calls.")
    def count() -> int:
        calls.added.append((0, 0))
        return len(calls.added)

    return server


@contextlib.contextmanager
def mcp_server(
    *,
    verifier: bool = False,  # callers need the token of alice or bob
    tools: Callable[..., MCPServer] = mcp_tools,
    middleware: Callable[[Any], Any] = lambda app: app,
    **http: Any,  # of streamable_http_app: event_store, host, json_response, max_request_body_size ...
) -> Iterator[Served]:
    """An MCP server over Streamable HTTP; ``url`` includes ``/mcp``."""
    calls = Calls()
    settings: dict[str, Any] = {"log_level": "CRITICAL"}
    if verifier:
        nowhere = "http://127.0.0.1:1"
        rules = AuthSettings(issuer_url=nowhere, resource_server_url=nowhere, validate_token_resource=False)
        settings |= {"auth": rules, "token_verifier": Tokens()}
    made = tools(calls, **settings)
    with serve(lambda url: middleware(made.streamable_http_app(**http))) as served:
        served.url += "/mcp"
        served.worker = calls
        served.app = made
        yield served
