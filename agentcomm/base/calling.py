"""Calls into plug-ins: an error in a plug-in's code names the plug-in, and the file and line where it was raised."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from agentcomm.base.errors import AgentcommError, HookError, ThreatModelError
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
        ThreatModelError: If the code reads what it may not; names the line.
    """
    try:
        yield
    except ThreatModelError as error:
        raise (error if ", line " in str(error) else ThreatModelError(f"{error}{place(error)}")) from error.__cause__
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
    """File and line of the innermost frame of the user's code.

    That is code outside installed packages or, without any, of a package that announces plug-ins; next come the
    testbed's own plug-ins, then other libraries. Of a syntax error, file and line of the text that cannot be parsed.
    Empty for errors that the testbed itself raises.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = [
        (frame.f_globals.get("__name__", "").partition(".")[0], frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    outside = [
        (_nearness(package, file), file, line)
        for package, file, line in frames
        if PACKAGE not in Path(file).parents
        and ("site-packages" in file or not file.startswith(("<frozen", "<string>", STANDARD)))
    ]
    nearest = max((near for near, _, _ in outside), default=0)
    found = [f" ({file}, line {line})" for near, file, line in outside if near == nearest]
    return found[-1] if found else ""


def _nearness(package: str, file: str) -> int:
    """How much the code of a package is the user's own, from 0 for libraries to 3."""
    if package in ("envs", "policies", "attacks"):
        return 1
    if "site-packages" not in file:
        return 3
    return 2 if package in _announcing() else 0


@cache
def _announcing() -> frozenset[str]:
    """The packages that announce plug-ins."""
    points = entry_points()
    groups = [group for group in points.groups if group.startswith("agentcomm.")]
    return frozenset(
        point.value.partition(":")[0].partition(".")[0] for g in groups for point in points.select(group=g)
    )


def _model(name: str, base: type[BaseModel] = BaseModel) -> type[BaseModel]:
    """The model of that name, from which an error knows what its fields accept."""
    known = base.__subclasses__()
    found = [model for model in known if model.__name__ == name]
    return (found or [m for m in (_model(name, below) for below in known) if m is not BaseModel] or [BaseModel])[0]
