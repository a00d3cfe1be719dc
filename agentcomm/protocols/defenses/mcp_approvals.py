"""Approvals of MCP tools that count once, and cannot be left out.

The SDK seals requestState and binds it to tool, arguments and principal, but a client may replay it, or send answers
with no state at all. This middleware runs inside that seal: it puts the number of the question into the state, and
takes each number once. Answers without a state are left out, so that the tool asks instead of acting on them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

from agentcomm.protocols.defenses.approvals import Approvals
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.mcp_claims import REFUSED, principal


class OneTimeApprovals:
    """Server middleware: ``MCPServer(middleware=[OneTimeApprovals()])``.

    Args:
        approvals: The open questions.
    """

    def __init__(self, approvals: Approvals | None = None) -> None:
        self._approvals = Approvals() if approvals is None else approvals

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Take the number of an answer; give a number to a question."""
        try:
            result = await call_next(self._taken(ctx))
            if result is None or _field(result, "resultType", "result_type") != "input_required":
                return result
            state = _field(result, "requestState", "request_state")
            numbered = json.dumps([self._approvals.ask(principal(ctx)), state])
        except RefusedError as error:
            raise MCPError(code=REFUSED, message=str(error)) from error
        if isinstance(result, Mapping):
            return {**result, "requestState": numbered}
        return result.model_copy(update={"request_state": numbered})

    def _taken(self, ctx: ServerRequestContext[Any, Any]) -> ServerRequestContext[Any, Any]:
        """The request with the state as the tool wrote it."""
        params = ctx.params or {}
        if params.get("requestState") is None:  # answers to no question count as none: the tool asks
            given = {name: value for name, value in params.items() if name != "inputResponses"}
            return ctx if len(given) == len(params) else replace(ctx, params=given)
        number, state = None, params.get("requestState")
        if isinstance(state, str):
            try:
                number, state = json.loads(state)
            except (ValueError, TypeError) as error:
                raise RefusedError("the answer's state is not one of this server") from error
        self._approvals.take(principal(ctx), number if isinstance(number, str) else None)
        return replace(ctx, params={**params, "requestState": state})


def _field(result: HandlerResult, name: str, attribute: str) -> Any:
    """A field of a result, which may be a JSON object or a model."""
    return result.get(name) if isinstance(result, Mapping) else getattr(result, attribute, None)
