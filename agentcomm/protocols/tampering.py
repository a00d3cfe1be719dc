"""The attacker on the path as a pure function: what becomes of one event of an agent protocol.

The function has no memory. What it does to an event follows from its rules, its seed and the event with its number, so
that it does the same in the process, in the proxy and in the batch.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationError

from agentcomm.base.errors import ConfigError, did_you_mean
from agentcomm.base.explain import explain
from agentcomm.base.fields import Strict
from agentcomm.protocols.edits import error_answer, substitute
from agentcomm.protocols.event import Direction, Event, Kind
from agentcomm.protocols.payloads import How, change_envelopes
from agentcomm.runs.choices import Choice

MAX_COPIES = 8
MAX_DELAY = 60.0

Delayed = tuple[float, Event]
Probability = Annotated[float, Field(ge=0, le=1)]


class Rule(Strict, ABC):
    """What every rule has: which events it applies to. An event has to meet all conditions that are given."""

    name: ClassVar[str]

    probability: Probability = Field(1.0, description="chance that an event that meets the conditions is attacked")
    direction: Direction | None = Field(None, description="only requests or only responses")
    kind: Kind | None = Field(None, description="only events of this kind")
    method: str | None = Field(None, description="only events of calls of this JSON-RPC method")
    contains: str | None = Field(None, description="only events whose body contains this text")
    start: int = Field(
        0, ge=0, description="number of the first attacked event; requests and responses are numbered from 0"
    )
    stop: int | None = Field(None, ge=1, description="number of the first event that is not attacked any more")

    def applies(self, event: Event) -> bool:
        """Whether an event meets the conditions."""
        return (
            self.direction in (None, event.direction)
            and self.kind in (None, event.kind)
            and self.method in (None, event.method)
            and self.start <= event.number
            and (self.stop is None or event.number < self.stop)
            and (self.contains is None or self.contains.encode() in event.body)
        )

    @abstractmethod
    def act(self, event: Event) -> list[Delayed]:
        """What becomes of an attacked event: copies, each with the time until it is passed on."""


class Drop(Rule):
    """Does not pass the event on. A dropped request or response leaves the client waiting."""

    name = "drop"

    def act(self, event: Event) -> list[Delayed]:
        """Nothing."""
        return []


class Duplicate(Rule):
    """Passes the event on several times. Of several answers to one HTTP request, the client gets the first."""

    name = "duplicate"
    copies: int = Field(2, ge=2, le=MAX_COPIES, description="how often it is passed on")

    def act(self, event: Event) -> list[Delayed]:
        """Equal copies."""
        return [(0.0, event)] * self.copies


class Delay(Rule):
    """Passes the event on later."""

    name = "delay"
    by: float = Field(1.0, gt=0, le=MAX_DELAY, description="seconds; steps in the batch, where they are rounded up")

    def act(self, event: Event) -> list[Delayed]:
        """The event, later."""
        return [(self.by, event)]


class Payload(Rule):
    """Changes the payload of the testbed's envelopes under their old seals."""

    name = "payload"
    how: How = Field("flip", description="flip negates the numbers of the payload, zero sets them to zero")

    def act(self, event: Event) -> list[Delayed]:
        """The event with other payloads."""
        return [(0.0, replace(event, body=change_envelopes(event.body, self.how)))]


class Edit(Rule):
    """Changes values of JSON bodies at a path, such as ``params.message.parts.*.text``, or adds a key."""

    name = "edit"
    path: str = Field(
        description="keys and list indices joined by dots; * stands for any, two dots for any number of them"
    )
    find: str | None = Field(None, description="text to replace inside the texts there; without it, the whole value")
    to: Any = Field(description="the new text or value")

    def act(self, event: Event) -> list[Delayed]:
        """The event with other values."""
        return [(0.0, replace(event, body=substitute(event.body, self.path, self.find, self.to)))]


class CardUrl(Edit):
    """Makes agent cards name another URL, so that clients send their requests and credentials there."""

    name = "card_url"
    kind: Kind | None = Field("card", description="only events of this kind")
    path: str = Field("..url", description="where cards name URLs")


class Description(Edit):
    """Substitutes the descriptions of agents, skills and tools."""

    name = "description"
    direction: Direction | None = Field("response", description="only requests or only responses")
    path: str = Field("..description", description="where descriptions are")


class Refuse(Rule):
    """Answers with a JSON-RPC error in the server's place; to ``server/discover``, that is a downgrade of MCP."""

    name = "refuse"
    direction: Direction | None = Field("response", description="only requests or only responses")
    code: int = Field(-32601, description="code of the error; -32601 says that there is no such method")
    message: str = Field("Method not found", description="text of the error")

    def act(self, event: Event) -> list[Delayed]:
        """An error in place of the result."""
        return [(0.0, replace(event, body=error_answer(event.body, self.code, self.message)))]


RULES: dict[str, type[Rule]] = {
    rule.name: rule for rule in (Drop, Duplicate, Delay, Payload, Edit, CardUrl, Description, Refuse)
}


@dataclass(frozen=True)
class Tampering:
    """The attacker: a list of rules, each applied to what the ones before it pass on.

    Attributes:
        rules: The rules.
        seed: Decides which events are attacked, if a probability is below 1.
    """

    rules: tuple[Rule, ...] = ()
    seed: int = 0

    def __call__(self, event: Event) -> list[Delayed]:
        """What becomes of an event.

        Returns:
            Events to pass on, each with the time that it is held back: seconds on the wire, steps in the batch. At most
            ``MAX_COPIES`` of them, each held back by at most ``MAX_DELAY``.
        """
        passed: list[Delayed] = [(0.0, event)]
        for index, rule in enumerate(self.rules):
            luck = random.Random(f"{self.seed}/{event.direction}/{event.number}/{index}").random()
            if luck >= rule.probability:
                continue
            passed = [
                (min(held + more, MAX_DELAY), copy)
                for held, old in passed
                for more, copy in (rule.act(old) if rule.applies(old) else [(0.0, old)])
            ][:MAX_COPIES]
        return passed


def read_rule(text: str) -> Rule:
    """The rule that a text of the form ``NAME:key=value,key=value`` describes.

    Raises:
        ConfigError: If it describes none; the text names the key, the value and what is expected.
    """
    choice = Choice.parse(text)
    if choice.name not in RULES:
        raise ConfigError(f"there is no attack {choice.name!r} of the proxy; {did_you_mean(choice.name, RULES)}")
    kind = RULES[choice.name]
    try:
        return kind.model_validate(choice.arguments)
    except ValidationError as error:
        raise ConfigError(explain(error, f"attack {choice.name}", kind, choice.arguments)) from None


def read_rules(texts: Sequence[str], seed: int = 0) -> Tampering:
    """The attacker that several texts describe, in their order; see :func:`read_rule`."""
    return Tampering(tuple(map(read_rule, texts)), seed)
