"""Every defense by name, as functions that change the parts of servers and clients, for the table of attacks.

A defense of owners (contexts, once) is shown with the owner hook, without which the SDK has one owner only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping

from agentcomm.protocols.attacks.a2a_lab import A2AParts
from agentcomm.protocols.attacks.mcp_lab import MCPParts
from agentcomm.protocols.defenses.keys import PrivateKey, SharedKey, SignKey, VerifyKey

NAME = "worker"  # audience of messages, and name of the key of the card, in the systems under attack


class DerivedKeys(Mapping[str, SignKey]):
    """A key for every name, for systems under test: no secret from anyone who reads this file.

    Args:
        kind: ``hmac`` or ``ed25519``.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __getitem__(self, name: str) -> SignKey:
        seed = hashlib.sha256(f"agentcomm/test/{self._kind}/{name}".encode()).digest()
        return SharedKey(seed) if self._kind == "hmac" else PrivateKey(seed)

    def __contains__(self, name: object) -> bool:
        return bool(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def get(self, name: str, default: object = None) -> VerifyKey | None:  # type: ignore[override]
        """The key, or None for no name."""
        return self[name] if name else None


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
        _mix(parts, SignedHandler)
        parts.handler_options["verifier"] = Verifier(NAME, keys)
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


def limits(parts: A2AParts | MCPParts) -> None:
    """Size, depth, rate and time of requests."""
    from agentcomm.protocols.defenses.asgi import LimitRequests
    from agentcomm.protocols.defenses.limits import Quota

    parts.middleware.append(lambda app: LimitRequests(app, quota=Quota()))


def browsers(parts: A2AParts | MCPParts) -> None:
    """Host, Origin and content type of requests."""
    from agentcomm.protocols.defenses.asgi import CheckOrigin

    parts.middleware.append(CheckOrigin)


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


def mcp_tokens(parts: MCPParts) -> None:
    """Callers are who their bearer token says; sessions belong to them (the SDK's own defense)."""
    from mcp.server.auth.provider import AccessToken
    from mcp.server.auth.settings import AuthSettings
    from pydantic import AnyHttpUrl

    class Names:
        async def verify_token(self, token: str) -> AccessToken | None:
            return AccessToken(token=token, client_id=token, scopes=[])

    nowhere = AnyHttpUrl("http://127.0.0.1:1")
    parts.server_options["token_verifier"] = Names()
    parts.server_options["auth"] = AuthSettings(
        issuer_url=nowhere, resource_server_url=nowhere, validate_token_resource=False
    )


def mcp_claims(kind: str) -> Callable[[MCPParts], None]:
    """Signed claims on each request."""

    def defend(parts: MCPParts) -> None:
        from agentcomm.protocols.defenses.claims import Signer, Verifier
        from agentcomm.protocols.defenses.mcp_claims import VerifyClaims, signed

        keys = DerivedKeys(kind)
        parts.server_options["middleware"].append(VerifyClaims(Verifier(NAME, keys)))
        parts.transports.append(lambda transport, user: signed(transport, Signer(user or "?", keys[user]), NAME))

    return defend


def mcp_once(parts: MCPParts) -> None:
    """One execution per principal and key."""
    from agentcomm.protocols.defenses.mcp_once import OnceCalls, keyed

    parts.server_options["middleware"].append(OnceCalls())
    parts.transports.append(lambda transport, user: keyed(transport))


def mcp_approvals(parts: MCPParts) -> None:
    """Approvals count once and cannot be left out."""
    from agentcomm.protocols.defenses.mcp_approvals import OneTimeApprovals

    parts.server_options["middleware"].append(OneTimeApprovals())


def mcp_pins(parts: MCPParts) -> None:
    """Tools are pinned by digest in a namespace keyed by URL."""
    import contextlib
    from collections.abc import AsyncIterator, Sequence
    from typing import Any

    from agentcomm.protocols.attacks.mcp_lab import Toolbox, client
    from agentcomm.protocols.defenses.mcp_pins import PinnedTools, ToolSpace
    from agentcomm.protocols.defenses.pins import Pins

    pins = Pins()

    async def pinned(made: Any, url: str, user: str) -> Any:
        tools = PinnedTools(made, url, pins)
        await tools.list_tools(cache_mode="refresh")
        return tools

    @contextlib.asynccontextmanager
    async def space(servers: Sequence[tuple[str, str]], user: str) -> AsyncIterator[Toolbox]:
        async with contextlib.AsyncExitStack() as stack:
            bare = MCPParts(client_options=parts.client_options, http=parts.http, transports=parts.transports)
            clients = {url: await stack.enter_async_context(client(bare, url, user)) for url, _ in servers}
            yield ToolSpace(clients, pins)

    parts.wrap_client.append(pinned)
    parts.toolbox = space


def mcp_versions(parts: MCPParts) -> None:
    """No fallback to an older protocol."""
    from agentcomm.protocols.defenses.mcp_connections import NEWEST

    parts.client_options["mode"] = NEWEST


def mcp_cache(parts: MCPParts) -> None:
    """Nothing is cached."""
    from agentcomm.protocols.defenses.mcp_connections import private_cache

    parts.client_options["cache"] = private_cache("", seconds=0)


def mcp_resumption(parts: MCPParts) -> None:
    """Streams can be resumed in their own session only."""
    from agentcomm.protocols.defenses.mcp_resumption import SessionEvents

    events = SessionEvents()
    parts.app_options["event_store"] = events
    parts.middleware.append(events.guard)


def mcp_signatures(parts: MCPParts) -> None:
    """HTTP message signatures over the exact bytes of each request."""
    import httpx2

    from agentcomm.protocols.defenses.http_signatures import RequestVerifier
    from agentcomm.protocols.defenses.http_signing import SignRequests, VerifyRequests

    keys = DerivedKeys("hmac")

    class Signing(httpx2.AsyncBaseTransport):
        def __init__(self, inner: httpx2.AsyncBaseTransport, user: str) -> None:
            self._inner, self._sign = inner, SignRequests(user or "?", keys[user])

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await request.aread()
            return await self._inner.handle_async_request(self._sign(request))

    parts.http.append(Signing)
    verifier = RequestVerifier(keys)
    parts.middleware.append(lambda app: VerifyRequests(app, verifier))


A2A: dict[str, list[Callable[[A2AParts], None]]] = {
    "owners": [a2a_owners],
    "claims_hmac": [a2a_owners, a2a_claims("hmac")],
    "claims_ed25519": [a2a_owners, a2a_claims("ed25519")],
    "http_signatures": [a2a_signatures],
    "once": [a2a_owners, a2a_once],
    "contexts": [a2a_owners, a2a_contexts],
    "timeouts": [a2a_timeouts],
    "cards": [a2a_cards],
    "possession": [a2a_possession],
    "extended_card": [a2a_owners, a2a_extended_card],
    "push": [a2a_push],
    "streams": [a2a_streams],
    "limits": [limits],
    "browsers": [browsers],
}
MCP: dict[str, list[Callable[[MCPParts], None]]] = {
    "tokens": [mcp_tokens],
    "claims_hmac": [mcp_claims("hmac")],
    "claims_ed25519": [mcp_claims("ed25519")],
    "http_signatures": [mcp_signatures],
    "once": [mcp_once],
    "approvals": [mcp_approvals],
    "pins": [mcp_pins],
    "versions": [mcp_versions],
    "cache": [mcp_cache],
    "resumption": [mcp_resumption],
    "limits": [limits],
    "browsers": [browsers],
}
DEFENSES = {"a2a": A2A, "mcp": MCP}
