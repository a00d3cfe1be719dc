"""A protected A2A server in two lines: a handler instead of ``DefaultRequestHandler``, and a wrapper around the app.

``handler = ProtectedHandler(agent_executor=..., task_store=..., agent_card=card)``
``app = protect(Starlette(routes=...), hosts=("agent.example",))``

Callers must be authenticated for owners to mean anything: add ``context_builder=BearerUsers(check)`` to the routes, or
:class:`~agentcomm.protocols.defenses.http_signing.VerifyRequests` around the app.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from agentcomm.protocols.carrier import Application
from agentcomm.protocols.defenses.a2a_cards import authenticated_only
from agentcomm.protocols.defenses.a2a_contexts import OwnedContexts
from agentcomm.protocols.defenses.a2a_once import OnceHandler
from agentcomm.protocols.defenses.a2a_push import push_validator
from agentcomm.protocols.defenses.a2a_tasks import AgedHandler
from agentcomm.protocols.defenses.asgi import LOCAL, CheckOrigin, LimitRequests
from agentcomm.protocols.defenses.limits import Quota


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


def protect(
    app: Application,
    hosts: Collection[str] = LOCAL,
    origins: Collection[str] = (),
    max_body: int = 1 << 20,
    quota: Quota | None = None,
) -> Application:
    """An A2A or MCP application with limits and the checks against browsers in front of it.

    Args:
        app: The application.
        hosts: Names under which it is reached.
        origins: Origins of web pages that may call it.
        max_body: Bytes of one request.
        quota: Rate and number of requests of one caller; :class:`Quota`'s defaults if None.
    """
    limited = LimitRequests(app, max_body, quota=Quota() if quota is None else quota)
    return CheckOrigin(limited, hosts, origins)
