"""A stream that somebody cut is an error, not a short answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from a2a.client import Client
from a2a.types import StreamResponse, TaskState

from agentcomm.protocols.defenses.errors import RefusedError

ENDS = {  # states after which a stream may end: terminal ones, and those in which the agent waits for its caller
    TaskState.TASK_STATE_COMPLETED,
    TaskState.TASK_STATE_FAILED,
    TaskState.TASK_STATE_CANCELED,
    TaskState.TASK_STATE_REJECTED,
    TaskState.TASK_STATE_INPUT_REQUIRED,
    TaskState.TASK_STATE_AUTH_REQUIRED,
}


async def complete(events: AsyncIterator[StreamResponse]) -> AsyncIterator[StreamResponse]:
    """The events of a call; raises at the end if the last state was not one that ends a stream.

    Raises:
        RefusedError: If the stream ended early.
    """
    ended = False
    async for event in events:
        if event.HasField("message"):
            ended = True
        elif event.HasField("task"):
            ended = event.task.status.state in ENDS
        elif event.HasField("status_update"):
            ended = event.status_update.status.state in ENDS
        yield event
    if not ended:
        raise RefusedError("the stream ended before the task did; ask for the task's state")


class CompleteStreams:
    """A client whose streams must be complete; everything else is the client's own.

    Args:
        client: The client.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def send_message(self, *args: Any, **options: Any) -> AsyncIterator[StreamResponse]:
        """Send a message."""
        return complete(self._client.send_message(*args, **options))

    def subscribe(self, *args: Any, **options: Any) -> AsyncIterator[StreamResponse]:
        """Follow a task."""
        return complete(self._client.subscribe(*args, **options))
