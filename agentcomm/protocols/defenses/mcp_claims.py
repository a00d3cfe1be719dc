"""Signed claims on MCP requests: a transport signs whatever a client sends, middleware verifies.

The claims travel in ``params._meta`` and cover method and parameters, ``_meta`` and requestState included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.message import SessionMessage

from agentcomm.protocols.defenses.canonical import canonical, digest
from agentcomm.protocols.defenses.claims import Signer, Verifier
from agentcomm.protocols.defenses.errors import RefusedError

FIELD = "org.agentcomm/claims"
SENDER = "org.agentcomm/sender"  # where middleware puts the verified sender, for what runs after it
REFUSED = -32602

Params = dict[str, Any]


def request_digest(method: str, params: Mapping[str, Any]) -> bytes:
    """SHA-256 of a request in canonical form, without its claims.

    Raises:
        RefusedError: If it has no canonical form.
    """
    meta = {name: value for name, value in (params.get("_meta") or {}).items() if name != FIELD}
    return digest(canonical({"method": method, "params": {**params, "_meta": meta}}))


class ChangedRequests:
    """An MCP transport whose outgoing requests are changed; for ``Client(ChangedRequests(transport, change))``.

    Args:
        inner: The transport, such as ``streamable_http_client(url)``.
        change: The parameters to send, given method and parameters.
    """

    def __init__(self, inner: Any, change: Callable[[str, Params], Params]) -> None:
        self._inner, self._change = inner, change

    async def __aenter__(self) -> tuple[Any, Any]:
        """Open the transport."""
        read, write = await self._inner.__aenter__()
        return read, _Changing(write, self._change)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        """Close it."""
        return await self._inner.__aexit__(kind, error, trace)


class _Changing:
    """A stream of outgoing messages."""

    def __init__(self, inner: Any, change: Callable[[str, Params], Params]) -> None:
        self._inner, self._change = inner, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def __aenter__(self) -> _Changing:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *reason: Any) -> Any:
        return await self._inner.__aexit__(*reason)

    async def send(self, item: SessionMessage) -> None:
        message: Any = item.message
        if getattr(message, "method", None) is not None and hasattr(message, "id"):
            params = self._change(message.method, dict(message.params or {}))
            item = SessionMessage(message.model_copy(update={"params": params}), item.metadata)
        await self._inner.send(item)


def with_meta(params: Params, name: str, value: Any) -> Params:
    """Parameters with one more field in ``_meta``."""
    return {**params, "_meta": {**(params.get("_meta") or {}), name: value}}


def signed(transport: Any, signer: Signer, audience: str) -> ChangedRequests:
    """A transport that signs each request: ``Client(signed(streamable_http_client(url), signer, audience))``.

    Args:
        transport: The transport.
        signer: Makes the claims.
        audience: Name of the server.
    """

    def change(method: str, params: Params) -> Params:
        return with_meta(params, FIELD, signer.sign(audience, request_digest(method, params)))

    return ChangedRequests(transport, change)


class VerifyClaims:
    """Server middleware, ``server.middleware.insert(0, VerifyClaims(verifier))``: executes signed requests only.

    It comes first, outside of the SDK's seal of requestState: a client signs the state as it is on the wire. Given as
    ``MCPServer(middleware=...)`` it sees the opened state, and refuses every answer to a question.

    Args:
        verifier: Verifies the claims.
        public: Methods that need no claims; discovery by default.
    """

    def __init__(self, verifier: Verifier, public: frozenset[str] = frozenset({"server/discover"})) -> None:
        self._verifier, self._public = verifier, public

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Verify a request, then pass it on with its sender."""
        if ctx.request_id is None or ctx.method in self._public:
            return await call_next(ctx)
        params = dict(ctx.params or {})
        meta = params.get("_meta") or {}
        token = meta.get(FIELD) if isinstance(meta, Mapping) else None
        try:
            content = request_digest(ctx.method, params)
            claims = self._verifier.verify(token if isinstance(token, str) else None, content)
        except RefusedError as error:
            raise MCPError(code=REFUSED, message=str(error)) from error
        return await call_next(replace(ctx, params=with_meta(params, SENDER, claims.sender)))


def principal(ctx: ServerRequestContext[Any, Any]) -> str:
    """Who sent a request: the user of its credential, else the sender of its claims, else ""."""
    user = getattr(ctx.request, "scope", {}).get("user")
    if user is not None and user.is_authenticated:
        return f"user:{user.display_name}"
    sender = ((ctx.params or {}).get("_meta") or {}).get(SENDER)
    return f"sender:{sender}" if isinstance(sender, str) else ""
