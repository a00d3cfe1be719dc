"""An attacker at one place on the path: it numbers what passes, applies its function, and records what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from agentcomm.base.text import clip
from agentcomm.protocols.carrier import Protocol
from agentcomm.protocols.event import Direction, Event, kind_of
from agentcomm.protocols.tally import MAX_METHOD, Tally
from agentcomm.protocols.tampering import Delayed, Tampering

Record = dict[str, Any]


class OnPath:
    """The attacker at one place.

    Args:
        protocol: The protocol spoken there.
        tampering: What becomes of an event.
        record: Called with a record of each event that was not passed on as it came: its number, direction, kind,
            method and length in bytes, and what was done. Contents are never recorded.

    Attributes:
        done: How many events were ``seen``, ``dropped``, ``duplicated``, ``changed`` and ``delayed``.
        tally: How many events each attack met and changed, and the methods seen.
    """

    def __init__(
        self, protocol: Protocol, tampering: Tampering, record: Callable[[Record], None] = lambda _: None
    ) -> None:
        self.protocol, self.tampering = protocol, tampering
        self.done: Counter[str] = Counter()
        self.tally = Tally()
        self._numbers: Counter[str] = Counter()
        self._record = record

    def meet(
        self, direction: Direction, method: str, body: bytes, path: str = "", streamed: bool = False
    ) -> list[Delayed]:
        """What becomes of the next event.

        Args:
            direction: Its direction.
            method: Method of the call that it belongs to.
            body: Its content.
            path: Path of the HTTP request.
            streamed: Whether it is an event of a streamed response.

        Returns:
            Events to pass on, each with the seconds to wait before.
        """
        kind = kind_of(direction, method, path, streamed)
        event = Event(self.protocol, direction, kind, method, body, self._numbers[direction])
        self._numbers[direction] += 1
        self.done["seen"] += 1
        passed, effects = self.tampering.trace(event)
        self.tally.count(event, self.tampering.rules, effects)
        if actions := _actions(event, passed):
            self.done.update(actions)
            self._record(
                {
                    "number": event.number,
                    "direction": direction,
                    "kind": kind,
                    "method": clip(method, MAX_METHOD),
                    "bytes": len(body),
                    "did": actions,
                    "seconds": max((seconds for seconds, _ in passed), default=0.0),
                }
            )
        return passed


def _actions(event: Event, passed: list[Delayed]) -> list[str]:
    """What was done to an event, in words; empty if it is passed on as it came."""
    found = {
        "dropped": not passed,
        "duplicated": len(passed) > 1,
        "changed": any(copy.body != event.body for _, copy in passed),
        "delayed": any(seconds for seconds, _ in passed),
    }
    return [word for word, is_so in found.items() if is_so]
