"""A small A2A agent, bare or protected: ``python examples/a2a_agent.py [--protected]``; port 9999.

Needs ``pip install 'agentcomm[a2a]'``. Audit it with ``agentcomm audit http://127.0.0.1:9999``.
"""

from __future__ import annotations

import sys

import uvicorn
from a2a.helpers import new_task_from_user_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette

from agentcomm.protocols.carrier import Application
from agentcomm.protocols.defenses.a2a_server import ProtectedHandler
from agentcomm.protocols.defenses.a2a_users import BearerUsers
from agentcomm.protocols.defenses.asgi import protect

TOKENS = {"alice-token": "alice", "bob-token": "bob"}  # in earnest: from your identity provider


class Notes(AgentExecutor):
    """Takes notes until it is told that all is said: ``done``."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Answer a message."""
        task = context.current_task or new_task_from_user_message(context.message)
        if not context.current_task:
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        said = context.get_user_input()
        await updater.add_artifact([new_text_part(f"noted: {said}")], name="note")
        await (updater.complete() if said == "done" else updater.requires_input())

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Forget a task."""
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def card(url: str) -> AgentCard:
    """What the agent says about itself."""
    return AgentCard(
        name="notes",
        description="Takes notes.",
        version="1",
        capabilities=AgentCapabilities(streaming=True),
        supported_interfaces=[AgentInterface(url=url + "/", protocol_binding="JSONRPC", protocol_version="1.0")],
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="note", name="note", description="Takes a note.", tags=["text"])],
    )


# --8<-- [start:bare]
def bare(url: str) -> Application:
    """The agent as the SDK's tutorial builds it."""
    handler = DefaultRequestHandler(agent_executor=Notes(), task_store=InMemoryTaskStore(), agent_card=card(url))
    return Starlette(routes=create_agent_card_routes(card(url)) + create_jsonrpc_routes(handler, "/"))


# --8<-- [end:bare]
# --8<-- [start:protected]
def protected(url: str) -> Application:
    """The same agent with owners, and with every defense that needs nothing of its clients."""
    handler = ProtectedHandler(agent_executor=Notes(), task_store=InMemoryTaskStore(), agent_card=card(url))
    routes = create_jsonrpc_routes(handler, "/", context_builder=BearerUsers(TOKENS.get))
    return protect(Starlette(routes=create_agent_card_routes(card(url)) + routes))


# --8<-- [end:protected]
if __name__ == "__main__":
    build = protected if "--protected" in sys.argv[1:] else bare
    uvicorn.run(build("http://127.0.0.1:9999"), host="127.0.0.1", port=9999)
