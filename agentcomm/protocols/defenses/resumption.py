"""Events of streams that a client may resume, for the session and principal that they were sent to only."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from agentcomm.protocols.defenses.errors import RefusedError

Event = TypeVar("Event")


@dataclass
class Peer:
    """To whom a stream belongs. Filled in while its first request is served, so events keep the object itself.

    Attributes:
        session: Id of the session; "" until it is known.
        principal: Who opened it, as authenticated; "" for nobody.
    """

    session: str = ""
    principal: str = ""

    def owns(self, other: Peer) -> bool:
        """Whether the other one is a known session of the same principal, and the same."""
        return bool(self.session) and (self.session, self.principal) == (other.session, other.principal)


@dataclass(frozen=True)
class Kept(Generic[Event]):
    """One event."""

    peer: Peer
    stream: str
    event: Event
    at: float


@dataclass
class EventLog(Generic[Event]):
    """Keeps events in memory, bounded and aged; the oldest are dropped first.

    Attributes:
        capacity: Most events.
        seconds: How long an event can be resumed from.
        clock: Seconds.
    """

    capacity: int = 10_000
    seconds: float = 600.0
    clock: Callable[[], float] = time.monotonic
    _kept: OrderedDict[str, Kept[Event]] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, peer: Peer, stream: str, event: Event) -> str:
        """Keep an event; the unguessable id under which it can be resumed from."""
        now = self.clock()
        while self._kept:
            first = next(iter(self._kept.values()))
            if len(self._kept) < self.capacity and first.at > now - self.seconds:
                break
            self._kept.popitem(last=False)
        name = secrets.token_hex(16)
        self._kept[name] = Kept(peer, stream, event, now)
        return name

    def after(self, peer: Peer, name: str) -> tuple[str, Iterator[tuple[str, Event]]]:
        """The stream of an event, and the events that followed it with their ids.

        Raises:
            RefusedError: If there is no such event, or it is another peer's; which of both is not told.
        """
        last = self._kept.get(name)
        if last is None or last.at <= self.clock() - self.seconds or not last.peer.owns(peer):
            raise RefusedError("unknown event id; start the stream again")
        names = list(self._kept)
        later = [(n, self._kept[n]) for n in names[names.index(name) + 1 :]]
        return last.stream, iter([(n, k.event) for n, k in later if k.stream == last.stream and k.peer.owns(peer)])
