"""Each A2A message is executed once per owner and messageId; a repetition gets the outcome of the first."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from a2a.server.context import ServerCallContext
from a2a.server.events import Event
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.types import GetTaskRequest, Message, SendMessageRequest, Task
from a2a.utils.errors import InvalidParamsError, TaskNotFoundError

from agentcomm.protocols.defenses.a2a_claims import content_digest
from agentcomm.protocols.defenses.errors import RefusedError
from agentcomm.protocols.defenses.once import Once

Outcome = Message | str  # an answer without a task, or the id of a task


class OnceHandler(DefaultRequestHandler):
    """A request handler that executes each message once.

    A repetition that arrives while the first is executed waits for it; what it gets is the task as it is then, read as
    its own caller, or the same message. A stream that is repeated gets that as its one event.

    Args:
        options: Arguments of ``DefaultRequestHandler``.
        once: Remembers outcomes; one of its own if None.
    """

    def __init__(self, *, once: Once[Outcome] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._once: Once[Outcome] = Once() if once is None else once

    async def on_message_send(self, params: SendMessageRequest, context: ServerCallContext) -> Message | Task:
        """Execute a message, or give the outcome of the execution that there was."""
        answer: list[Message | Task] = []

        async def execute() -> Outcome:
            answer.append(await super(OnceHandler, self).on_message_send(params, context))
            return answer[0].id if isinstance(answer[0], Task) else answer[0]

        owner, key = context.user.user_name, params.message.message_id
        try:
            outcome, first = await self._once.run(owner, key, content_digest(params), execute)
        except RefusedError as error:
            raise InvalidParamsError(message=str(error)) from error
        return answer[0] if first else await self._again(outcome, context)

    async def on_message_send_stream(
        self, params: SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event, None]:
        """Execute a message and stream its events, or give the outcome of the execution that there was."""
        owner, key = context.user.user_name, params.message.message_id
        try:
            future, first = self._once.reserve(owner, key, content_digest(params))
        except RefusedError as error:
            raise InvalidParamsError(message=str(error)) from error
        if not first:
            yield await self._again(await future, context)
            return
        outcome: Outcome | None = None
        try:
            async with aclosing(super().on_message_send_stream(params, context)) as events:
                async for event in events:
                    if isinstance(event, Message):
                        outcome = event
                    else:
                        outcome = event.id if isinstance(event, Task) else event.task_id
                    yield event
        except Exception as error:
            if outcome is None:
                future.set_exception(error)
            raise
        finally:  # also when the client left: the task goes on, and a repetition finds it
            if not future.done():
                if outcome is None:
                    future.set_exception(RefusedError("the first execution of this message gave no answer"))
                else:
                    future.set_result(outcome)

    async def _again(self, outcome: Outcome, context: ServerCallContext) -> Message | Task:
        if isinstance(outcome, Message):
            return outcome
        task: Task | None = await self.on_get_task(GetTaskRequest(id=outcome), context)
        if task is None:
            raise TaskNotFoundError
        return task
