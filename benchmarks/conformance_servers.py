"""The servers that the official suites test, bare or defended: ``python -m benchmarks.conformance_servers a2a bare``.

The MCP server is the SDK's everything-server, the A2A server an agent that answers the message ids of a2a-tck. Each
listens on a free loopback port, prints its URL and serves until its standard input is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

from a2a.helpers import new_task_from_user_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.server.tasks import TaskUpdater as Updater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentProvider, AgentSkill, Part
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value
from starlette.applications import Starlette

from agentcomm.protocols.serving import serve

RETRY = 100  # ms after which a client of the everything-server resumes a stream, as that server's own program has it
NAMED = {"media_type": "text/plain", "filename": "output.txt"}


def text(words: str) -> list[Part]:
    """The parts of a message or artifact that is text."""
    return [Part(text=words)]


def data() -> list[Part]:
    """The parts of an artifact that is data."""
    return [Part(data=json_format.Parse('{"key": "value", "count": 42}', Value()))]


# What the kit expects for messages whose id starts so: whether the task is at work first, and its artifacts.
ARTIFACTS: dict[str, tuple[bool, list[tuple[list[Part], dict[str, Any]]]]] = {
    "tck-stream-artifact-chunked": (
        True,
        [
            (text("chunk-1 "), {"append": False, "artifact_id": "chunks"}),
            (text("chunk-2"), {"append": True, "last_chunk": True, "artifact_id": "chunks"}),
        ],
    ),
    "tck-stream-artifact-text": (True, [(text("Streamed text content"), {})]),
    "tck-stream-artifact-file": (True, [([Part(raw=b"tck", **NAMED)], {})]),
    "tck-stream-ordering-001": (True, [(text("Ordered output"), {})]),
    "tck-stream-001": (True, [(text("Stream hello from TCK"), {})]),
    "tck-stream-003": (True, [(text("Stream task lifecycle"), {})]),
    "tck-artifact-file-url": (False, [([Part(url="https://example.com/output.txt", **NAMED)], {})]),
    "tck-artifact-file": (False, [([Part(raw=b"tck", **NAMED)], {})]),
    "tck-artifact-text": (False, [(text("Generated text content"), {})]),
    "tck-artifact-data": (False, [(data(), {})]),
}


class Agent(AgentExecutor):
    """Does for each message what its id asks for."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Carry out a message."""
        message = context.message
        assert message is not None
        name = message.message_id
        if name.startswith("tck-message-response"):
            updater = Updater(event_queue, context.task_id or "", context.context_id or "")
            return await event_queue.enqueue_event(updater.new_agent_message(text("Direct message response")))
        task = context.current_task or new_task_from_user_message(message)
        if context.current_task is None:  # a parked task that is sent again would end the call at once
            await event_queue.enqueue_event(task)
        updater = Updater(event_queue, task.id, task.context_id)
        if name.startswith("tck-input-required"):
            return await updater.requires_input()
        if name.startswith("tck-reject-task"):
            return await updater.reject()
        if name.startswith("tck-complete-task"):
            return await updater.complete(updater.new_agent_message(text("Hello from TCK")))
        if name.startswith("test-resubscribe-message-id"):
            await updater.start_work()
            await asyncio.sleep(4)  # seconds in which the kit subscribes again
        works, artifacts = next((made for start, made in ARTIFACTS.items() if name.startswith(start)), (False, []))
        if works:
            await updater.start_work()
        for parts, options in artifacts:
            await updater.add_artifact(parts=parts, **options)
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancel a task."""
        await Updater(event_queue, context.task_id or "", context.context_id or "").cancel()


def card(url: str) -> AgentCard:
    """The card of :class:`Agent`, with both bindings over HTTP."""
    return AgentCard(
        name="agentcomm",
        description="answers the messages of a2a-tck",
        version="1",
        provider=AgentProvider(organization="agentcomm", url=f"{url}/"),
        capabilities=AgentCapabilities(streaming=True),
        supported_interfaces=[
            AgentInterface(url=f"{url}/", protocol_binding="JSONRPC", protocol_version="1.0"),
            AgentInterface(url=f"{url}/a2a/rest", protocol_binding="HTTP+JSON", protocol_version="1.0"),
        ],
        default_input_modes=["text/plain", "application/json"],
        default_output_modes=["text/plain", "application/json"],
        skills=[AgentSkill(id="answer", name="answer", description="answers", tags=["test"])],
    )


def a2a(url: str, defended: bool) -> Any:
    """The A2A application."""
    made, options = card(url), {"agent_executor": Agent(), "task_store": InMemoryTaskStore()}
    if not defended:
        return routes(made, DefaultRequestHandler(agent_card=made, **options))
    from agentcomm.protocols.defenses.a2a_server import ProtectedHandler
    from agentcomm.protocols.defenses.a2a_users import BearerUsers
    from agentcomm.protocols.defenses.asgi import protect

    users = BearerUsers(lambda token: token or None)  # the kits send no token: their callers are anonymous
    return protect(routes(made, ProtectedHandler(agent_card=made, **options), users))


def routes(made: AgentCard, handler: DefaultRequestHandler, users: Any = None) -> Starlette:
    """A handler's application."""
    return Starlette(
        routes=create_agent_card_routes(made)
        + create_jsonrpc_routes(handler, "/", context_builder=users)
        + create_rest_routes(handler, path_prefix="/a2a/rest", context_builder=users)
    )


def mcp(checkout: Path, defended: bool) -> Any:
    """The everything-server of a checkout of the SDK."""
    sys.path.insert(0, str(checkout / "examples/servers/everything-server"))
    module: Any = importlib.import_module("mcp_everything_server.server")
    if defended:
        from agentcomm.protocols.defenses.mcp_server import protect_mcp

        return protect_mcp(module.mcp, retry_interval=RETRY)
    return module.mcp.streamable_http_app(event_store=module.event_store, retry_interval=RETRY)


async def run(protocol: str, defended: bool, checkout: Path) -> None:
    """Serve until standard input is closed."""
    async with serve(lambda url: a2a(url, defended) if protocol == "a2a" else mcp(checkout, defended)) as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("protocol", choices=["a2a", "mcp"])
    parser.add_argument("kind", choices=["bare", "defended"])
    parser.add_argument("--checkout", type=Path, default=Path(), help="the MCP SDK's repository")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")  # the everything-server uses what the SDK calls deprecated, on purpose
    asyncio.run(run(options.protocol, options.kind == "defended", options.checkout))


if __name__ == "__main__":
    main()
