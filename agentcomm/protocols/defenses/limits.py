"""Limits on what one caller may ask for: rate, requests at a time, depth of JSON."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable

from agentcomm.protocols.defenses.errors import RefusedError

# A string is skipped as a whole; possessive, so that an unterminated one cannot make the search quadratic.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def check_depth(body: bytes, most: int) -> None:
    """Refuse JSON text that nests arrays and objects deeper than ``most``, before any parser sees it.

    Raises:
        RefusedError: If it does.
    """
    depth = 0
    for token in _TOKENS.finditer(body):
        mark = token.group()[0]
        if mark in b"[{":
            depth += 1
            if depth > most:
                raise RefusedError(f"the message nests deeper than {most} levels")
        elif mark in b"]}":
            depth -= 1


class Quota:
    """Requests per second and requests at a time, by caller.

    Callers are forgotten when they have been idle long enough to have a full bucket again. If more callers than
    ``callers`` are active, new ones are refused: forgetting an active one would refill its bucket.

    Args:
        rate: Requests per second that a caller may keep up.
        burst: Requests that it may send at once.
        at_once: Requests that it may have open.
        callers: Most callers remembered.
        clock: Seconds.
    """

    def __init__(
        self,
        rate: float = 50.0,
        burst: int = 100,
        at_once: int = 32,
        callers: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate, self._burst, self._at_once, self._callers, self._clock = rate, burst, at_once, callers, clock
        self._state: OrderedDict[str, list[float]] = OrderedDict()  # tokens, time of the last request, open requests

    def enter(self, caller: str) -> None:
        """Count a request in; call :meth:`leave` when it is done.

        Raises:
            RefusedError: If the caller has used up its share.
        """
        now = self._clock()
        state = self._state.get(caller)
        if state is None:
            self._forget(now)
            if len(self._state) >= self._callers:
                raise RefusedError("too many callers; retry later")
            state = self._state[caller] = [float(self._burst), now, 0.0]
        tokens = min(self._burst, state[0] + (now - state[1]) * self._rate)
        if tokens < 1:
            raise RefusedError(f"more than {self._rate:g} requests per second; slow down")
        if state[2] >= self._at_once:
            raise RefusedError(f"more than {self._at_once} requests at a time; wait for answers")
        state[:] = [tokens - 1, now, state[2] + 1]
        self._state.move_to_end(caller)

    def leave(self, caller: str) -> None:
        """Count a request out."""
        self._state[caller][2] -= 1

    def _forget(self, now: float) -> None:
        """Drop callers that were idle until their bucket was full, the longest idle first."""
        while self._state:
            caller, (tokens, last, open_requests) = next(iter(self._state.items()))
            if open_requests or tokens + (now - last) * self._rate < self._burst:
                return
            del self._state[caller]
