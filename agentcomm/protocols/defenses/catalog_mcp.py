"""Defenses of MCP by name, as functions that change the parts of servers and clients, for the table of attacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentcomm.protocols.attacks.mcp_lab import MCPParts
from agentcomm.protocols.defenses.catalog_parts import NAME, DerivedKeys, browsers, limits, sign_answers


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
        parts.outermost.append(VerifyClaims(Verifier(NAME, keys)))
        parts.transports.append(lambda transport, user: signed(transport, Signer(user or "?", keys[user]), NAME))

    return defend


def mcp_json(parts: MCPParts) -> None:
    """Answers in JSON instead of streams, which are not signed."""
    parts.app_options["json_response"] = True


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

    from agentcomm.protocols.attacks.mcp_lab import Toolbox, client
    from agentcomm.protocols.defenses.mcp_pins import PinnedTools, ToolSpace
    from agentcomm.protocols.defenses.pins import Pins

    pins = Pins()

    async def pinned(made: Any, url: str, user: str) -> Any:
        tools = PinnedTools(made, url, pins)
        await tools.list_tools(cache_mode="refresh")
        return tools

    @contextlib.asynccontextmanager
    async def space(own: MCPParts, servers: Sequence[tuple[str, str]], user: str) -> AsyncIterator[Toolbox]:
        async with contextlib.AsyncExitStack() as stack:
            bare = MCPParts(client_options=own.client_options, http=own.http, transports=own.transports)
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

    parts.client_options["cache"] = private_cache("", "", seconds=0)


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


MCP: dict[str, list[Callable[[MCPParts], None]]] = {
    "tokens": [mcp_tokens],
    "claims_hmac": [mcp_claims("hmac")],
    "claims_ed25519": [mcp_claims("ed25519")],
    "http_signatures": [mcp_signatures],
    "signed_answers": [sign_answers, mcp_json],
    "once": [mcp_once],
    "approvals": [mcp_approvals],
    "pins": [mcp_pins],
    "versions": [mcp_versions],
    "cache": [mcp_cache],
    "resumption": [mcp_resumption],
    "limits": [limits],
    "browsers": [browsers],
}
