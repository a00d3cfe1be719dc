"""A protected A2A server: a handler instead of ``DefaultRequestHandler``; :func:`.asgi.protect` goes around the app.

``handler = ProtectedHandler(agent_executor=..., task_store=..., agent_card=card)``
``app = protect(Starlette(routes=...), hosts=("agent.example",))``

Callers must be authenticated for owners to mean anything: add ``context_builder=BearerUsers(check)`` to the routes, or
:class:`~agentcomm.protocols.defenses.http_signing.VerifyRequests` around the app.
"""

from __future__ import annotations

from typing import Any

from agentcomm.protocols.defenses.a2a_cards import authenticated_only
from agentcomm.protocols.defenses.a2a_contexts import OwnedContexts
from agentcomm.protocols.defenses.a2a_once import OnceHandler
from agentcomm.protocols.defenses.a2a_push import push_validator
from agentcomm.protocols.defenses.a2a_tasks import AgedHandler


class ProtectedHandler(OnceHandler, AgedHandler):
    """A request handler with every defense that needs nothing of the client.

    Each message is executed once, contexts belong to their owners, parked and old tasks are let go, push URLs are
    public, and the extended card is for authenticated callers. Give
    :func:`~agentcomm.protocols.defenses.a2a_push.safe_push` for a push sender that cannot be rebound.

    Args:
        options: Arguments of ``DefaultRequestHandler``, and ``once``; those given replace the defaults here.
    """

    def __init__(self, **options: Any) -> None:
        options.setdefault("request_context_builder", OwnedContexts())
        options.setdefault("extended_card_modifier", authenticated_only)
        options.setdefault("push_url_validator", push_validator())
        super().__init__(**options)
