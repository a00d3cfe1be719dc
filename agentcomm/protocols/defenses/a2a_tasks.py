"""Bounds on A2A tasks: parked ones are released, stored ones age, and each owner has a share."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from a2a.server.context import ServerCallContext
from a2a.server.owner_resolver import OwnerResolver, resolve_user_scope
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.tasks import TaskStore
from a2a.types import ListTasksRequest, ListTasksResponse, Task, TaskState

AT_WORK = {TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING}
Key = tuple[str, str]  # owner, task id


class AgedTaskStore(TaskStore):
    """A task store that forgets: tasks that nobody changed for a while, and an owner's oldest beyond its share.

    Tasks that an agent still works on are the last to go. When all owners together exceed the capacity, the owner with
    the most tasks loses one.

    Args:
        inner: Where the tasks are, such as ``InMemoryTaskStore()``.
        seconds: How long a task stays after its last change, once it has ended or waits for its caller.
        at_work: The same while an agent works on it.
        share: Most tasks of one owner.
        capacity: Most tasks of all owners together.
        owner_resolver: Finds a call's owner; give the inner store's.
        clock: Seconds.
    """

    def __init__(
        self,
        inner: TaskStore,
        seconds: float = 3600.0,
        at_work: float = 86_400.0,
        share: int = 1000,
        capacity: int = 10_000,
        owner_resolver: OwnerResolver = resolve_user_scope,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner, self._share, self._capacity = inner, share, capacity
        self._owner, self._clock = owner_resolver, clock
        resting: OrderedDict[Key, tuple[float, ServerCallContext]] = OrderedDict()  # by last change, as working
        working: OrderedDict[Key, tuple[float, ServerCallContext]] = OrderedDict()
        self._resting, self._working = resting, working
        self._tables = ((resting, seconds), (working, at_work))
        self._owned: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._resting) + len(self._working)

    async def save(self, task: Task, context: ServerCallContext) -> None:
        """Save a task, and forget others if there are too many."""
        await self.forget_old()
        owner = self._owner(context)
        await self._inner.save(task, context)
        key = (owner, task.id)
        for table, _ in self._tables:
            table.pop(key, None)
        table = self._working if task.status.state in AT_WORK else self._resting
        table[key] = (self._clock(), context)
        owned = self._owned.setdefault(owner, {})
        owned.pop(task.id, None)
        owned[task.id] = None
        if len(owned) > self._share:
            await self._forget_one(owner)
        if len(self) > self._capacity:
            await self._forget_one(max(self._owned, key=lambda name: len(self._owned[name])))

    async def get(self, task_id: str, context: ServerCallContext) -> Task | None:
        """A task of the caller."""
        await self.forget_old()
        return await self._inner.get(task_id, context)

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """The tasks of the caller."""
        await self.forget_old()
        return await self._inner.list(params, context)

    async def delete(self, task_id: str, context: ServerCallContext) -> None:
        """Delete a task of the caller."""
        owner = self._owner(context)
        if task_id in self._owned.get(owner, ()):
            await self._forget((owner, task_id))

    async def forget_old(self) -> None:
        """Forget tasks whose time is over; every other method does so first. For where no requests come."""
        now = self._clock()
        for table, seconds in self._tables:
            while table:
                key, (at, _) = next(iter(table.items()))
                if at > now - seconds:
                    break
                await self._forget(key)

    async def _forget_one(self, owner: str) -> None:
        """Forget an owner's oldest task, if possible one that nobody works on."""
        owned = self._owned[owner]
        oldest = next((name for name in owned if (owner, name) in self._resting), next(iter(owned)))
        await self._forget((owner, oldest))

    async def _forget(self, key: Key) -> None:
        owner, task_id = key
        _, context = self._resting.pop(key) if key in self._resting else self._working.pop(key)
        del self._owned[owner][task_id]
        if not self._owned[owner]:
            del self._owned[owner]
        await self._inner.delete(task_id, context)


class AgedHandler(DefaultRequestHandler):
    """A request handler that releases parked tasks and forgets old ones.

    Args:
        task_store: Where tasks are; wrapped unless it ages already.
        interrupted_task_timeout: Seconds after which a task that waits for input costs nothing but its store entry.
        options: Further arguments of ``DefaultRequestHandler``.
    """

    def __init__(self, *, task_store: TaskStore, interrupted_task_timeout: float = 60.0, **options: Any) -> None:
        aged = task_store if isinstance(task_store, AgedTaskStore) else AgedTaskStore(task_store)
        super().__init__(task_store=aged, interrupted_task_timeout=interrupted_task_timeout, **options)
