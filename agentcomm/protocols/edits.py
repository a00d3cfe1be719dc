"""Changes of JSON bodies at paths; whatever cannot be changed is passed on as it is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

from agentcomm.protocols.event import MAX_DEPTH, dumped, parsed

How = Literal["flip", "zero"]  # to change the numbers of an envelope
ANY, ANY_DEPTH = "*", ""


def substitute(body: bytes, path: str, find: str | None, to: Any) -> bytes:
    """A JSON body with other values at a path.

    A key at the end of a path that the mapping before does not have is added, unless the path has wildcards.

    Args:
        body: The body.
        path: Keys and list indices joined by dots; ``*`` stands for any one of them, two dots for any number of them.
        find: Text that is replaced inside the texts at the path; the whole value is replaced when it is None.
        to: The new text or value.

    Returns:
        The bytes as they were if the body is no JSON or has nothing to replace there.
    """
    data = parsed(body)
    if data is None:
        return body
    named = path.split(".")
    steps = tuple(step for step, following in pairwise((*named, "end")) if step or following)
    changed = _at(data, steps, find, to, 0)
    if find is None and not {ANY, ANY_DEPTH} & set(steps):
        _add(changed, steps, to)
    return body if changed == data else dumped(changed)


def _at(value: Any, path: tuple[str, ...], find: str | None, to: Any, depth: int) -> Any:
    """The value with what the path leads to replaced."""
    if not path:
        if find is None:
            return to
        return value.replace(find, str(to)) if isinstance(value, str) else value
    if depth > MAX_DEPTH:
        return value
    step, rest = path[0], path[1:]
    inner = path if step == ANY_DEPTH else rest
    changed = value
    if isinstance(value, dict):
        changed = {
            key: _at(item, inner, find, to, depth + 1) if step in (ANY, ANY_DEPTH, key) else item
            for key, item in value.items()
        }
    elif isinstance(value, list):
        changed = [
            _at(item, inner, find, to, depth + 1) if step in (ANY, ANY_DEPTH, str(index)) else item
            for index, item in enumerate(value)
        ]
    # What is inside comes first: the new value is not searched again.
    return _at(changed, rest, find, to, depth) if step == ANY_DEPTH else changed


def _add(value: Any, path: tuple[str, ...], to: Any) -> None:
    """Set the key at the end of a path in the mapping that the path leads to, if there is one."""
    *parents, last = path
    for step in parents:
        if isinstance(value, list):
            value = value[int(step)] if step.isdecimal() and int(step) < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value.setdefault(last, to)


def error_answer(body: bytes, code: int, message: str) -> bytes:
    """A JSON-RPC error in place of an answer; a body that is no JSON-RPC answer is returned as it is."""
    data = parsed(body)
    if not isinstance(data, dict) or "id" not in data or not {"result", "error"} & data.keys():
        return body
    return dumped({"jsonrpc": "2.0", "id": data["id"], "error": {"code": code, "message": message}})
