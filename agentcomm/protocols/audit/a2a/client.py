"""Calls of A2A 1.0 as an auditor makes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from agentcomm.protocols.audit.target import Caller, Target, origin
from agentcomm.protocols.audit.wire import Answer, Wire, dig

VERSION = {"a2a-version": "1.0"}
TASK_NOT_FOUND = -32001


@dataclass(frozen=True)
class Sent:
    """A message that was sent, and what became of it."""

    answer: Answer
    task: str | None  # id, if the agent answered with a task
    context: str | None
    reply: str | None  # messageId, if it answered with a message

    @property
    def served(self) -> bool:
        """Whether the agent answered it."""
        return self.task is not None or self.reply is not None


class A2AClient:
    """One agent."""

    def __init__(self, wire: Wire, target: Target, card: Any, card_url: str) -> None:
        self.wire, self.target, self.card, self.card_url = wire, target, card, card_url
        self.interfaces = [
            str(url)
            for interface in dig(card, "supportedInterfaces") or ()
            if (url := dig(interface, "url")) is not None
        ]
        own = [
            str(dig(interface, "url"))
            for interface in dig(card, "supportedInterfaces") or ()
            if dig(interface, "protocolBinding") == "JSONRPC"
            and str(dig(interface, "protocolVersion")).startswith("1.")
            and origin(str(dig(interface, "url"))) == target.origin
        ]
        self.endpoint = own[0] if own else None

    def can(self, capability: str) -> bool:
        """Whether the card claims a capability."""
        return dig(self.card, "capabilities", capability) is True

    async def call(self, method: str, caller: Caller, headers: Mapping[str, str] = VERSION, **params: Any) -> Answer:
        """Call a method at the JSON-RPC endpoint."""
        return await self.post(self.body(method, **params), caller, headers)

    async def post(self, body: Any, caller: Caller, headers: Mapping[str, str] = VERSION) -> Answer:
        """Post a body to the JSON-RPC endpoint."""
        if self.endpoint is None:
            return Answer(problem="not sent: the card names no JSON-RPC endpoint of A2A 1.x at the asked origin")
        return await self.wire.post(body, caller, headers, url=self.endpoint)

    @staticmethod
    def body(method: str, **params: Any) -> dict[str, Any]:
        """A request."""
        return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}

    @classmethod
    def ping_body(cls, **extra: Any) -> dict[str, Any]:
        """A request that reads and changes nothing: for a task that does not exist."""
        return cls.body("GetTask", id=str(uuid4()), **extra)

    async def ping(self, caller: Caller, headers: Mapping[str, str] = VERSION) -> Answer:
        """Ask for a task that does not exist; a server that processes the request says so."""
        return await self.post(self.ping_body(), caller, headers)

    async def admitted(self, caller: Caller) -> bool:
        """Whether the server answers the caller's own calls."""
        return processed(await self.ping(caller))

    async def send(self, caller: Caller, **message: Any) -> Sent:
        """Send the message of the audit."""
        content = self.target.message
        part = {"text": content} if isinstance(content, str) else {"data": content}
        given = {"messageId": str(uuid4()), "role": "ROLE_USER", "parts": [part], **message}
        answer = await self.call("SendMessage", caller, message=given)
        return sent(answer)


def sent(answer: Answer) -> Sent:
    """The answer to SendMessage."""
    task = _text(answer.result, "task", "id")
    place = "task" if task else "message"
    return Sent(answer, task, _text(answer.result, place, "contextId"), _text(answer.result, "message", "messageId"))


def _text(value: Any, *path: str) -> str | None:
    found = dig(value, *path)
    return found if isinstance(found, str) and found else None


def processed(answer: Answer) -> bool:
    """Whether a ping reached the agent's tasks."""
    return answer.code == TASK_NOT_FOUND


async def read_card(wire: Wire, target: Target) -> A2AClient | Answer:
    """The agent at the address, by its card; the answer if there is none."""
    url = target.url.rstrip("/") + "/.well-known/agent-card.json"
    answer = await wire.request("GET", url, target.owner, {"accept": "application/json"})
    if isinstance(dig(answer.message, "supportedInterfaces"), list) and dig(answer.message, "name"):
        return A2AClient(wire, target, answer.message, url)
    return answer


def deep(depth: int) -> bytes:
    """A ping with lists nested in a field that nothing reads."""
    text = json.dumps(A2AClient.ping_body(extra=0))
    return text.replace('"extra": 0', f'"extra": {"[" * depth}{"]" * depth}').encode()
