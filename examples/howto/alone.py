"""Two defenses alone, in an A2A server that is otherwise as the SDK builds it."""

from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore
from starlette.applications import Starlette

from agentcomm.protocols.defenses import BearerUsers, CheckOrigin, Once, OnceHandler, SQLiteStore


def agent(executor, card, tokens, ids):
    """The application, whose executed ids survive a restart in the file ``ids``."""
    handler = OnceHandler(  # instead of DefaultRequestHandler: each messageId of an owner is executed once
        once=Once(SQLiteStore(ids)),
        agent_executor=executor,
        task_store=InMemoryTaskStore(),
        agent_card=card,
    )
    users = BearerUsers(tokens.get)  # who the owner is; without it all callers are one
    routes = create_agent_card_routes(card) + create_jsonrpc_routes(handler, "/", context_builder=users)
    return CheckOrigin(  # foreign Host or Origin, and bodies that a web page can send without asking
        Starlette(routes=routes),
        hosts=("127.0.0.1", "agent.example"),  # names under which the server is reached
        origins=("https://app.example",),  # web pages that may call it
    )
