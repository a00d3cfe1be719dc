"""An A2A agent and an MCP server, each protected in two lines (marked), and what they do with a replay."""

import asyncio

import httpx
from a2a.helpers import get_message_text, new_text_message
from a2a.server.agent_execution import AgentExecutor
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Role, SendMessageRequest
from mcp.server import MCPServer
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from agentcomm.protocols.defenses import (
    BearerUsers,
    Pins,
    ProtectedHandler,
    complete,
    connect,
    protect,
    protect_mcp,
    protected_client,
)
from agentcomm.protocols.serving import serve

TOKENS = {"a-long-random-token": "alice"}
executed: list[str] = []


class Shout(AgentExecutor):
    """Answers in capital letters."""

    async def execute(self, context, event_queue):
        """Answer one message."""
        text = get_message_text(context.message)
        executed.append(text)
        await event_queue.enqueue_event(new_text_message(text.upper(), context_id=context.context_id))

    async def cancel(self, context, event_queue):
        """Nothing runs long enough."""


def agent(url, users=BearerUsers):
    """The agent's application."""
    card = AgentCard(
        name="shout",
        description="Answers in capital letters.",
        version="1",
        capabilities=AgentCapabilities(streaming=True),
        supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")],
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="shout", name="shout", description="Answers in capital letters.", tags=["text"])],
    )
    handler = ProtectedHandler(  # (1) instead of DefaultRequestHandler
        agent_executor=Shout(), task_store=InMemoryTaskStore(), agent_card=card
    )
    routes = create_agent_card_routes(card) + create_jsonrpc_routes(handler, "/", context_builder=users(TOKENS.get))
    return protect(Starlette(routes=routes))  # (2) instead of Starlette(routes=routes)


class KnownUsers(BearerUsers):
    """Refuses callers without a valid token; the card stays public."""

    def build_user(self, request):
        """The user of a request."""
        user = super().build_user(request)
        if not user.is_authenticated:
            raise HTTPException(401, "a valid token is needed")
        return user


def closed(url):
    """The same agent, for callers with a token only."""
    return agent(url, KnownUsers)


def tools(url):
    """The MCP server's application."""
    server = MCPServer("calculator", log_level="WARNING")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two integers."""
        return a + b

    return protect_mcp(server)  # (3) instead of server.streamable_http_app()


async def talk(url):
    """Send a message twice, and forge a request."""
    async with httpx.AsyncClient(headers={"authorization": "Bearer a-long-random-token"}) as http:
        client = await connect(url, http)  # (4) instead of ClientFactory(...).create_from_url(url)
        request = SendMessageRequest(message=new_text_message("hello", role=Role.ROLE_USER))
        for _ in range(2):  # the second is a replay: it gets the same answer, and nothing is executed
            async for event in complete(client.send_message(request)):  # (5) a cut stream raises
                print("agent:", get_message_text(event.message))
        print("executed:", executed)
        forged = await http.post(url, content=b"{}", headers={"origin": "http://evil.example"})
        print("a page of another site:", forged.status_code, forged.json()["error"]["message"])


async def main():
    """Serve both on loopback, and call them."""
    async with serve(agent) as url:
        await talk(url)
    async with serve(tools) as url, protected_client(f"{url}/mcp", Pins()) as client:  # (6) instead of Client(url)
        result = await client.call_tool("add", {"a": 2, "b": 3})
        print("tool:", result.structured_content["result"])


if __name__ == "__main__":
    asyncio.run(main())
