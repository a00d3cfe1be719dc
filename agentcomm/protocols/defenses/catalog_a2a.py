"""Defenses of A2A by name, as functions that change the parts of servers and clients, for the table of attacks.

A defense of owners (contexts, once) is shown with the owner hook, without which the SDK has one owner only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from agentcomm.protocols.attacks.a2a_lab import A2AParts
from agentcomm.protocols.defenses.catalog_parts import NAME, DerivedKeys, browsers, limits, sign_answers
from agentcomm.protocols.defenses.keys import PrivateKey


def _mix(parts: A2AParts, mixin: type) -> None:
    parts.handler = type(mixin.__name__, (mixin, parts.handler), {})


def a2a_owners(parts: A2AParts) -> None:
    """Callers are who their bearer token says, and own their tasks."""
    from agentcomm.protocols.defenses.a2a_users import BearerUsers

    parts.route_options["context_builder"] = BearerUsers(lambda token: token)


def a2a_claims(kind: str) -> Callable[[A2AParts], None]:
    """Signed claims on each message."""

    def defend(parts: A2AParts) -> None:
        from agentcomm.protocols.defenses.a2a_claims import SignedHandler, SignMessages
        from agentcomm.protocols.defenses.claims import Signer, Verifier

        keys = DerivedKeys(kind)

        class Named(SignedHandler):
            def __init__(self, *, agent_card: Any, **options: Any) -> None:
                super().__init__(verifier=Verifier(agent_card.name, keys), agent_card=agent_card, **options)

        _mix(parts, Named)
        parts.interceptors.append(lambda user: SignMessages(Signer(user or "?", keys[user]), lambda card: card.name))

    return defend


def a2a_once(parts: A2AParts) -> None:
    """One execution per owner and messageId."""
    from agentcomm.protocols.defenses.a2a_once import OnceHandler

    _mix(parts, OnceHandler)


def a2a_contexts(parts: A2AParts) -> None:
    """Contexts belong to their owners."""
    from agentcomm.protocols.defenses.a2a_contexts import OwnedContexts

    parts.handler_options["request_context_builder"] = OwnedContexts()


def a2a_timeouts(parts: A2AParts) -> None:
    """Parked tasks are released, and stored ones forgotten."""
    from agentcomm.protocols.defenses.a2a_tasks import AgedHandler, AgedTaskStore

    class Short(AgedHandler):
        def __init__(self, *, task_store: object, **options: object) -> None:
            aged = AgedTaskStore(task_store, seconds=0.5, share=100)  # type: ignore[arg-type]
            super().__init__(task_store=aged, interrupted_task_timeout=0.2, **options)

    _mix(parts, Short)


def a2a_cards(parts: A2AParts) -> None:
    """Cards name the asked origin only, and credentials stay there."""
    from agentcomm.protocols.defenses.a2a_cards import connect

    parts.connect = lambda asked: connect(
        asked.url, asked.http, interceptors=asked.interceptors, streaming=asked.streaming
    )


def a2a_possession(parts: A2AParts) -> None:
    """The holder of the card's key proves that it is at home at the asked origin."""
    from a2a.types import AgentCard
    from starlette.routing import Router

    from agentcomm.protocols.defenses.a2a_cards import connect, possession_route

    key = PrivateKey(hashlib.sha256(b"agentcomm/test/card").digest())
    published: list[AgentCard] = []
    parts.sign_card.append(published.append)
    parts.middleware.append(
        lambda app: Router(
            [possession_route(published[-1].supported_interfaces[0].url, published[-1], NAME, key)], default=app
        )
    )
    parts.connect = lambda asked: connect(
        asked.url, asked.http, keys={NAME: key.public}, interceptors=asked.interceptors, streaming=asked.streaming
    )


def a2a_extended_card(parts: A2AParts) -> None:
    """The extended card is for authenticated callers."""
    from agentcomm.protocols.defenses.a2a_cards import authenticated_only

    parts.handler_options["extended_card_modifier"] = authenticated_only


def a2a_push(parts: A2AParts) -> None:
    """Push URLs must be public; resolved once and pinned."""
    from a2a.server.tasks import InMemoryPushNotificationConfigStore

    from agentcomm.protocols.defenses.a2a_push import safe_push

    parts.handler_options.update(safe_push(InMemoryPushNotificationConfigStore()))


def a2a_streams(parts: A2AParts) -> None:
    """A stream that ends early is an error."""
    from agentcomm.protocols.defenses.a2a_streams import CompleteStreams

    parts.wrap_client.append(CompleteStreams)  # type: ignore[arg-type]


def a2a_chain(parts: A2AParts) -> None:
    """Chains of actors; alice is the one who may start work."""
    import time

    from a2a.server.request_handlers import DefaultRequestHandler

    from agentcomm.protocols.defenses.a2a_actors import CarryChain, ChainedExecutor
    from agentcomm.protocols.defenses.actors import Actor, ChainVerifier

    keys = DerivedKeys("ed25519")

    class Chained(DefaultRequestHandler):
        def __init__(self, *, agent_executor: Any, agent_card: Any, **options: Any) -> None:
            chained = ChainedExecutor(agent_executor, ChainVerifier(agent_card.name, keys, {"alice"}))
            super().__init__(agent_executor=chained, agent_card=agent_card, **options)

    _mix(parts, Chained)
    parts.interceptors.append(
        lambda user: CarryChain(Actor(user or "?", keys[user]), lambda card: card.name, lambda: time.time() + 60)
    )


def a2a_signatures(parts: A2AParts) -> None:
    """HTTP message signatures over the exact bytes of each request."""
    from agentcomm.protocols.defenses.http_signatures import RequestVerifier
    from agentcomm.protocols.defenses.http_signing import SignRequests, VerifyRequests

    keys, before = DerivedKeys("hmac"), parts.connect

    async def connect(asked: object) -> object:
        asked.http.auth = SignRequests(asked.user or "?", keys[asked.user])  # type: ignore[attr-defined]
        return await before(asked)  # type: ignore[arg-type]

    parts.connect = connect  # type: ignore[assignment]
    verifier = RequestVerifier(keys)
    parts.middleware.append(lambda app: VerifyRequests(app, verifier))


A2A: dict[str, list[Callable[[A2AParts], None]]] = {
    "owners": [a2a_owners],
    "claims_hmac": [a2a_owners, a2a_claims("hmac")],
    "claims_ed25519": [a2a_owners, a2a_claims("ed25519")],
    "http_signatures": [a2a_signatures],
    "signed_answers": [sign_answers],
    "once": [a2a_owners, a2a_once],
    "contexts": [a2a_owners, a2a_contexts],
    "timeouts": [a2a_timeouts],
    "cards": [a2a_cards],
    "possession": [a2a_possession],
    "chain": [a2a_owners, a2a_chain],
    "extended_card": [a2a_owners, a2a_extended_card],
    "push": [a2a_push],
    "streams": [a2a_streams],
    "limits": [limits],
    "browsers": [browsers],
}
