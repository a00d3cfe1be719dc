"""Calls that may be refused, in whatever way an SDK and a defense say so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

SECONDS = 5.0


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
    """Make a call, and say what came of it. A call without an answer in time counts as refused."""
    try:
        async with asyncio.timeout(seconds):
            return Tried(await call)
    except Exception as error:  # every SDK and every defense has its own
        found: BaseException = error
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        return Tried(refusal=f"{type(found).__name__}: {found}"[:200])
