"""Calls into plug-ins: an error in a plug-in's code names the plug-in, and the file and line where it was raised."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from agentcomm.base.errors import AgentcommError, HookError
from agentcomm.base.explain import explain

PACKAGE = Path(__file__).parents[1]
STANDARD = sysconfig.get_path("stdlib")
A = TypeVar("A")


@contextmanager
def calling(what: str, hook: str) -> Iterator[None]:
    """Run a plug-in's code in this context.

    Args:
        what: The plug-in, such as ``defense 'clip'``.
        hook: The method that is called.

    Raises:
        HookError: If the code raises anything but an :class:`AgentcommError`, which passes unchanged, as does Ctrl-C.
            An attempt to end the process (``SystemExit``) is such an error, too.
    """
    try:
        yield
    except (AgentcommError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise HookError(f"{what} failed in {hook}: {described(error)}") from error


def answered(answer: object, kind: type[A], what: str, hook: str, expected: str) -> A:
    """What a hook returned, if it is of the right type.

    Args:
        answer: What the hook returned.
        kind: The type that it must return.
        what: The plug-in, such as ``policy 'mine'``.
        hook: The method that was called.
        expected: What it must return, such as ``payloads [B, N, D]``.

    Raises:
        HookError: If it returned something else, such as nothing.
    """
    if isinstance(answer, kind):
        return answer
    got = "None (is a return statement missing?)" if answer is None else f"a {type(answer).__name__}"
    raise HookError(f"{what}: {hook} must return {expected}, but returned {got}")


def described(error: BaseException) -> str:
    """An error's type, text and place, such as ``ZeroDivisionError: division by zero (mine.py, line 12)``."""
    if isinstance(error, ValidationError):
        return f"{explain(error, error.title, _model(error.title))}{place(error)}"
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}{place(error)}"


def place(error: BaseException) -> str:
    """File and line of the innermost frame outside this package, and outside installed libraries if there is one.

    Of a syntax error, those of the text that cannot be parsed. Empty for errors that the testbed itself raises.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    outside = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if PACKAGE not in Path(frame.filename).parents
        and ("site-packages" in frame.filename or not frame.filename.startswith(("<frozen", "<string>", STANDARD)))
    ]
    frames = [frame for frame in outside if "site-packages" not in frame.filename] or outside
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _model(name: str, base: type[BaseModel] = BaseModel) -> type[BaseModel]:
    """The model of that name, from which an error knows what its fields accept."""
    known = base.__subclasses__()
    found = [model for model in known if model.__name__ == name]
    return (found or [m for m in (_model(name, below) for below in known) if m is not BaseModel] or [BaseModel])[0]
