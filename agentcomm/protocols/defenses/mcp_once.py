"""Each MCP tool call is executed once per principal and key; a repetition gets the result of the first.

JSON-RPC ids start again with each client, so they cannot be the key: a transport gives each request a random one.
"""

from __future__ import annotations

import secrets
from typing import Any

from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.mcp_claims import (
    REFUSED,
    ChangedRequests,
    Params,
    principal,
    request_digest,
    with_meta,
)
from agentcomm.protocols.defenses.once import Once

FIELD = "org.agentcomm/once"


def keyed(transport: Any) -> ChangedRequests:
    """A transport whose tool calls have keys: ``Client(keyed(streamable_http_client(url)))``."""

    def change(method: str, params: Params) -> Params:
        return with_meta(params, FIELD, secrets.token_hex(16)) if method == "tools/call" else params

    return ChangedRequests(transport, change)


class OnceCalls:
    """Server middleware, ``MCPServer(middleware=[OnceCalls()])``: each tool call once, and none without a key.

    Args:
        once: Remembers results.
    """

    def __init__(self, once: Once[HandlerResult] | None = None) -> None:
        self._once: Once[HandlerResult] = Once() if once is None else once

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Execute a call, or give the result of the execution that there was."""
        if ctx.method != "tools/call":
            return await call_next(ctx)
        params = dict(ctx.params or {})
        key = (params.get("_meta") or {}).get(FIELD)

        async def execute() -> HandlerResult:
            return await call_next(ctx)

        try:
            if not isinstance(key, str) or not 16 <= len(key) <= 128:
                raise RefusedError(f"the call has no key; send a random one in _meta[{FIELD!r}]")
            content = request_digest(ctx.method, params)
            return (await self._once.run(principal(ctx), key, content, execute))[0]
        except RefusedError as error:
            raise MCPError(code=REFUSED, message=str(error)) from error
