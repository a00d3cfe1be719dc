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
from a2a.types import ListTasksRequest, ListTasksResponse, Task


class AgedTaskStore(TaskStore):
    """A task store that forgets: tasks that nobody changed for a while, and each owner's oldest beyond its share.

    When all owners together exceed the capacity, the owner with the most tasks loses its oldest.

    Args:
        inner: Where the tasks are, such as ``InMemoryTaskStore()``.
        seconds: How long a task stays after its last change.
        share: Most tasks of one owner.
        capacity: Most tasks of all owners together.
        owner_resolver: Finds a call's owner; give the inner store's.
        clock: Seconds.
    """

    def __init__(
        self,
        inner: TaskStore,
        seconds: float = 3600.0,
        share: int = 1000,
        capacity: int = 10_000,
        owner_resolver: OwnerResolver = resolve_user_scope,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner, self._seconds, self._share, self._capacity = inner, seconds, share, capacity
        self._owner, self._clock = owner_resolver, clock
        self._saved: OrderedDict[tuple[str, str], tuple[float, ServerCallContext]] = OrderedDict()  # by last change
        self._owned: dict[str, OrderedDict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._saved)

    async def save(self, task: Task, context: ServerCallContext) -> None:
        """Save a task, and forget others if there are too many."""
        await self._age()
        owner = self._owner(context)
        await self._inner.save(task, context)
        self._saved[owner, task.id] = (self._clock(), context)
        self._saved.move_to_end((owner, task.id))
        owned = self._owned.setdefault(owner, OrderedDict())
        owned[task.id] = None
        owned.move_to_end(task.id)
        if len(owned) > self._share:
            await self._forget(owner, next(iter(owned)))
        if len(self._saved) > self._capacity:
            most = max(self._owned, key=lambda name: len(self._owned[name]))
            await self._forget(most, next(iter(self._owned[most])))

    async def get(self, task_id: str, context: ServerCallContext) -> Task | None:
        """A task of the caller."""
        await self._age()
        return await self._inner.get(task_id, context)

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """The tasks of the caller."""
        await self._age()
        return await self._inner.list(params, context)

    async def delete(self, task_id: str, context: ServerCallContext) -> None:
        """Delete a task of the caller."""
        owner = self._owner(context)
        if (owner, task_id) in self._saved:
            await self._forget(owner, task_id)

    async def _age(self) -> None:
        oldest = self._clock() - self._seconds
        while self._saved:
            (owner, task_id), (at, _) = next(iter(self._saved.items()))
            if at > oldest:
                return
            await self._forget(owner, task_id)

    async def _forget(self, owner: str, task_id: str) -> None:
        _, context = self._saved.pop((owner, task_id))
        owned = self._owned[owner]
        del owned[task_id]
        if not owned:
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
