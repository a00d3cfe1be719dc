"""An A2A agent that executes signed messages only, its client, and what becomes of unsigned and edited messages."""

import asyncio

import httpx
from a2a.helpers import get_message_text, new_text_message
from a2a.server.agent_execution import AgentExecutor
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Role, SendMessageRequest
from a2a.utils.errors import A2AError
from starlette.applications import Starlette

from agentcomm.protocols.defenses import (
    PrivateKey,
    ProtectedHandler,
    SignedHandler,
    Signer,
    SignMessages,
    Verifier,
    complete,
    connect,
    origin,
    protect,
)
from agentcomm.protocols.onpath import OnPath
from agentcomm.protocols.serving import serve
from agentcomm.protocols.tampering import read_rules
from agentcomm.protocols.taps import tampered_http

ALICE = PrivateKey()  # Ed25519; in earnest read from a file that only the client can read
SENDERS = {"alice": ALICE.public}  # all that the server has to know of its callers


class Handler(SignedHandler, ProtectedHandler):
    """Verifies the signature first; alice then owns her contexts and tasks, and no message is executed twice."""


class Greet(AgentExecutor):
    """Greets the caller by the name that signed the message."""

    async def execute(self, context, event_queue):
        """Answer one message."""
        text = f"{get_message_text(context.message)}, {context.call_context.user.user_name}"
        await event_queue.enqueue_event(new_text_message(text, context_id=context.context_id))

    async def cancel(self, context, event_queue):
        """Nothing runs long enough."""


def agent(url, hosts=("127.0.0.1", "localhost")):
    """The server's application."""
    card = AgentCard(
        name="greet",
        description="Greets you.",
        version="1",
        capabilities=AgentCapabilities(streaming=True),
        supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")],
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="greet", name="greet", description="Greets you.", tags=["text"])],
    )
    verifier = Verifier(origin(url), SENDERS)  # the audience of messages: origin of the first interface on the card
    handler = Handler(verifier=verifier, agent_executor=Greet(), task_store=InMemoryTaskStore(), agent_card=card)
    return protect(Starlette(routes=create_agent_card_routes(card) + create_jsonrpc_routes(handler, "/")), hosts)


async def say(url, text, interceptors, transport=None):
    """The agent's answer to a text, or why it refuses."""
    async with httpx.AsyncClient(transport=transport) as http:
        client = await connect(url, http, interceptors=interceptors)
        request = SendMessageRequest(message=new_text_message(text, role=Role.ROLE_USER))
        try:
            answers = [get_message_text(event.message) async for event in complete(client.send_message(request))]
        except A2AError as error:
            return f"refused: {error}"
        return answers[0]


async def main():
    """Serve the agent on loopback, and call it as alice, without a signature, with another key, and edited."""
    alice = [SignMessages(Signer("alice", ALICE))]
    edits = read_rules(["edit:direction=request,path=..text,to=Goodbye"])
    on_path = tampered_http(httpx, httpx.AsyncHTTPTransport(), OnPath("a2a", edits))
    async with serve(agent) as url:
        print("signed:", await say(url, "Hello", alice))
        print("unsigned:", await say(url, "Hello", []))
        print("another key:", await say(url, "Hello", [SignMessages(Signer("alice", PrivateKey()))]))
        print("edited on the way:", await say(url, "Hello", alice, on_path))


if __name__ == "__main__":
    asyncio.run(main())
