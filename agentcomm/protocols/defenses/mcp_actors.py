"""Actor chains in MCP tool calls: ``_meta["org.agentcomm/actorChain"]``, one signed token per hop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

from agentcomm.protocols.defenses.actors import FIELD, Actor, ChainVerifier, asked_under
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.mcp_claims import REFUSED, ChangedRequests, Params, with_meta

META = f"org.agentcomm/{FIELD}"


def chained(transport: Any, actor: Actor, audience: str, expires: Callable[[], float]) -> ChangedRequests:
    """A transport whose tool calls carry the chain that this actor was asked under, or one that starts here.

    Args:
        transport: The transport.
        actor: This agent.
        audience: Name of the server.
        expires: When a chain that is started here expires, in seconds since the epoch.
    """

    # a transport may write in another task than the caller's: the chain is the one under which the client was opened
    def change(method: str, params: Params) -> Params:
        return with_meta(params, META, actor.carry(audience, expires())) if method == "tools/call" else params

    return ChangedRequests(transport, change)


class RequireChain:
    """Server middleware, ``MCPServer(middleware=[RequireChain(verifier)])``: tool calls need a valid chain.

    Args:
        verifier: Verifies chains that end here.
    """

    def __init__(self, verifier: ChainVerifier) -> None:
        self._verifier = verifier

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Verify the chain of a call, which calls of other agents then extend."""
        if ctx.method != "tools/call":
            return await call_next(ctx)
        meta = (ctx.params or {}).get("_meta")
        chain = meta.get(META, ()) if isinstance(meta, Mapping) else ()
        try:
            if not isinstance(chain, list):
                raise RefusedError("the call carries no actor chain")
            self._verifier.verify(chain)
        except RefusedError as error:
            raise MCPError(code=REFUSED, message=str(error)) from error
        mark = asked_under.set(tuple(chain))
        try:
            return await call_next(ctx)
        finally:
            asked_under.reset(mark)
