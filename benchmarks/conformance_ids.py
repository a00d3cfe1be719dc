"""A pytest plugin for a2a-tck: each message it sends gets an id of its own.

The kit sends different messages, and the same message to start different tasks, under one messageId, which the protocol
defines as "the unique identifier (e.g. UUID) of the message". A server that executes a messageId once answers
the later ones with the first task. The kit's agent knows what to do from how an id begins, so a suffix is all it takes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

from tck.transport.http_json_client import HttpJsonClient
from tck.transport.jsonrpc_client import JsonRpcClient

NUMBERS = itertools.count()


def numbered(send: Callable[..., Any]) -> Callable[..., Any]:
    """A client's method that sends a message, under an id that it has not used."""

    @functools.wraps(send)
    def under_new_id(self: Any, message: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        if "messageId" in message:
            message = {**message, "messageId": f"{message['messageId']}-{next(NUMBERS)}"}
        return send(self, message, *arguments, **options)

    return under_new_id


for client in (JsonRpcClient, HttpJsonClient):
    for name in ("send_message", "send_streaming_message"):
        setattr(client, name, numbered(getattr(client, name)))
