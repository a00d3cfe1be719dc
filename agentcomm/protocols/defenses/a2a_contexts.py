"""A2A contexts that belong to the user who started them."""

from __future__ import annotations

from typing import Any

from a2a.server.agent_execution import RequestContext, SimpleRequestContextBuilder
from a2a.server.context import ServerCallContext
from a2a.types import SendMessageRequest, Task
from a2a.utils.errors import InvalidParamsError

from agentcomm.protocols.defenses.contexts import Contexts
from agentcomm.protocols.defenses.errors import RefusedError


class OwnedContexts(SimpleRequestContextBuilder):
    """The ``request_context_builder=`` of a handler: makes context ids of their owner, and refuses any other.

    A message that continues a task of its user (the SDK has checked that) needs no context id.

    Args:
        contexts: Makes and checks ids.
        options: Arguments of ``SimpleRequestContextBuilder``.
    """

    def __init__(self, contexts: Contexts | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._contexts = Contexts() if contexts is None else contexts

    async def build(
        self,
        context: ServerCallContext,
        params: SendMessageRequest | None = None,
        task_id: str | None = None,
        context_id: str | None = None,
        task: Task | None = None,
    ) -> RequestContext:
        """The request's context, with an id of its owner."""
        owner = context.user.user_name
        if context_id:
            try:
                self._contexts.check(owner, context_id)
            except RefusedError as error:
                raise InvalidParamsError(message=str(error)) from error
        elif not task_id:
            context_id = self._contexts.new(owner)
        return await super().build(context, params, task_id, context_id, task)
