"""Stopping training by a signal, after writing checkpoints."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):
    """Training was stopped by a signal, after writing a checkpoint of every team at work.

    Attributes:
        number: The signal's number.
    """

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)
        self.number = number


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], int]]:
    """Catch the first Ctrl-C or SIGTERM; a second one acts as usual.

    Yields:
        A function that returns the number of the signal that came; 0 if none has.
    """
    asked: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def record(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in before:
            signal.signal(number, record)
    except ValueError:  # only the main thread can handle signals
        before = {}
    try:
        yield lambda: asked[0] if asked else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
