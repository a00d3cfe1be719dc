"""Calls into plug-ins: an error in a plug-in's code names the plug-in, and the file and line where it was raised."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentcomm.base.errors import AgentcommError, HookError

PACKAGE = Path(__file__).parents[1]


@contextmanager
def calling(what: str, hook: str) -> Iterator[None]:
    """Run a plug-in's code in this context.

    Args:
        what: The plug-in, such as ``defense 'clip'``.
        hook: The method that is called.

    Raises:
        HookError: If the code raises anything but an :class:`AgentcommError`, which passes unchanged.
    """
    try:
        yield
    except AgentcommError:
        raise
    except Exception as error:
        raise HookError(f"{what} failed in {hook}: {described(error)}") from error


def described(error: BaseException) -> str:
    """An error's type, text and place, such as ``ZeroDivisionError: division by zero (mine.py, line 12)``."""
    return f"{type(error).__name__}: {error}{place(error)}"


def place(error: BaseException) -> str:
    """File and line of the innermost frame outside this package, and outside installed libraries if there is one.

    Empty if there is none, as of errors that the testbed itself raises.
    """
    outside = [
        frame for frame in traceback.extract_tb(error.__traceback__) if PACKAGE not in Path(frame.filename).parents
    ]
    frames = [frame for frame in outside if "site-packages" not in frame.filename] or outside
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
