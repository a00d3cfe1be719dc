"""Calls that may be refused, in whatever way an SDK and a defense say so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from agentcomm.base.errors import AgentcommError

SECONDS = 20.0  # that an attack waits for what it expects


class NoAnswerError(AgentcommError):
    """A call, or an event that an attack waits for, did not come in time: nobody refused it, so nothing follows."""


@dataclass(frozen=True)
class Tried:
    """What came of a call.

    Attributes:
        value: What it returned; None if it was refused.
        refusal: Why it was refused; empty if it was not.
    """

    value: Any = None
    refusal: str = ""

    @property
    def worked(self) -> bool:
        """Whether it was not refused."""
        return not self.refusal

    @property
    def word(self) -> str:
        """``accepted``, or the refusal."""
        return self.refusal or "accepted"


async def tried(call: Awaitable[Any], seconds: float = SECONDS) -> Tried:
    """Make a call, and say what came of it.

    Raises:
        NoAnswerError: If there is no answer in time. On a busy machine that says nothing about defenses.
    """
    try:
        async with asyncio.timeout(seconds):
            return Tried(await call)
    except Exception as error:  # every SDK and every defense has its own
        found = innermost(error)
        if out_of_time(found):
            raise NoAnswerError(f"no answer within {seconds:g} s: {type(found).__name__}") from error
        return Tried(refusal=f"{type(found).__name__}: {found}"[:200])


async def happens(what: Callable[[], bool], seconds: float = SECONDS) -> bool:
    """Whether something happens within some seconds; returns as soon as it has."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not what():
                await asyncio.sleep(0.01)
    return what()


def innermost(error: BaseException) -> BaseException:
    """The first error of nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def out_of_time(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, is a timeout of Python, an HTTP library or an SDK."""
    for _ in range(10):
        if error is None:
            return False
        if isinstance(error, (TimeoutError, NoAnswerError)) or "Timeout" in type(error).__name__:
            return True
        error = error.__cause__ or error.__context__
    return False
