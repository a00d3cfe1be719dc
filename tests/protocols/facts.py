"""What the tests of facts share: a marker that names the finding, and raw requests."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from agentcomm.protocols.findings import FINDINGS, SDKS

TESTED: set[str] = set()


def fact(id_: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A test of one finding: if it fails, the message says which finding of which version has changed."""
    finding = FINDINGS[id_]
    TESTED.add(id_)
    package, measured = SDKS[finding.protocol]

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*arguments: Any, **named: Any) -> None:
            try:
                test(*arguments, **named)
            except Exception as error:
                found = f"{id_} ({finding.title}: {finding.alone})"
                raise AssertionError(
                    f"{package} {version(package)}: the finding {found} of {package} {measured} has changed: {error}"
                ) from error

        return run

    return mark


def a2a_body(data: Any = None, method: str = "SendMessage", **message: Any) -> dict[str, Any]:
    """A JSON-RPC request of A2A 1.0."""
    given = {"messageId": "m1", "role": "ROLE_USER", "parts": [{"data": data or {"a": 2, "b": 3}}], **message}
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"message": given}}


def code(response: Any) -> int:
    """The error code of a JSON-RPC answer; 0 if it is a result."""
    answer = response.json()
    return int(answer["error"]["code"]) if "error" in answer else 0


def nested(body: dict[str, Any], place: str, depth: int) -> str:
    """The body as JSON with lists nested at ``place``, such as '"a": 2'."""
    name = place.partition(":")[0]
    return json.dumps(body).replace(place, f"{name}: {'[' * depth}{']' * depth}")
