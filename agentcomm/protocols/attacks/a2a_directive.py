"""Directives in the artifacts of an A2A worker."""

from __future__ import annotations

from a2a.helpers import new_task_from_user_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.tasks import TaskUpdater
from a2a.types import Part

from agentcomm.protocols.attacks.a2a_lab import A2AAttack, A2AParts, client, send, server, task_of
from agentcomm.protocols.attacks.base import Outcome
from agentcomm.protocols.attacks.directives import OWN, WANTED, action_after, message
from agentcomm.protocols.attacks.trying import tried
from agentcomm.protocols.carrier import MEDIA_TYPE


class _Poisoner(AgentExecutor):
    """A worker whose artifact is an envelope."""

    poisoned = False

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Answer."""
        assert context.message is not None
        task = new_task_from_user_message(context.message)
        await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.add_artifact([Part(raw=message(self.poisoned), media_type=MEDIA_TYPE)], name="result")
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancel a task."""
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()


class Directive(A2AAttack):
    """A worker that the client trusts puts a directive into an artifact."""

    name = "directive"
    finding = "a directive in an artifact reaches the member, whoever signed it"

    async def attempt(self, parts: A2AParts) -> Outcome:
        """Read an ordinary artifact, then one with a directive."""
        worker = _Poisoner()
        async with server(parts, worker) as target, client(parts, target.url, "alice") as alice:
            plain = await tried(send(alice, {}))
            worker.poisoned = True
            attacked = await tried(send(alice, {}))
        done = [
            action_after(task_of(got.value).artifacts[0].parts[0].raw) if got.worked else None
            for got in (plain, attacked)
        ]
        return Outcome(done[1] == WANTED, done[0] == OWN, {"actions": done})
