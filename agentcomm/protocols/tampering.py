"""The attacker on the path as a pure function: what becomes of one event of an agent protocol.

The function has no memory. What it does to an event follows from its rules, its seed and the event with its number, so
that it does the same in the process, in the proxy and in the batch.
"""

from __future__ import annotations

import importlib
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationError

from agentcomm.base.errors import ConfigError, did_you_mean
from agentcomm.base.explain import explain
from agentcomm.base.fields import Strict
from agentcomm.protocols.edits import How, error_answer, substitute
from agentcomm.protocols.event import Direction, Event, Kind
from agentcomm.runs.choices import Choice

MAX_COPIES = 8
MAX_DELAY = 60.0

Delayed = tuple[float, Event]
Probability = Annotated[float, Field(ge=0, le=1)]


class Rule(Strict, ABC):
    """What every rule has: which events it applies to. An event has to meet all conditions that are given."""

    name: ClassVar[str]
    did: ClassVar[str] = "changed"  # the act, as summaries call it
    idle: ClassVar[str] = ""  # why an event that meets the conditions may stay as it was

    probability: Probability = Field(1.0, description="chance that an event that meets the conditions is attacked")
    direction: Direction | None = Field(None, description="only requests or only responses")
    kind: Kind | None = Field(None, description="only events of this kind")
    method: str | None = Field(None, description="only events of calls of this JSON-RPC method")
    contains: str | None = Field(None, description="only events whose body contains this text")
    start: int = Field(
        0, ge=0, description="number of the first attacked event; requests and responses are numbered from 0"
    )
    stop: int | None = Field(None, ge=1, description="number of the first event that is not attacked any more")

    @property
    def label(self) -> str:
        """The attack as it was asked for."""
        given = ", ".join(f"{key}={value}" for key, value in self.model_dump(exclude_unset=True).items())
        return f"{self.name} ({given})" if given else self.name

    def unmet(self, event: Event) -> Iterator[str]:
        """Names of the conditions that an event does not meet."""
        met = {
            "direction": self.direction in (None, event.direction),
            "kind": self.kind in (None, event.kind),
            "method": self.method in (None, event.method),
            "start": self.start <= event.number,
            "stop": self.stop is None or event.number < self.stop,
        }
        yield from (name for name, is_so in met.items() if not is_so)
        if self.contains is not None and self.contains.encode() not in event.body:
            yield "contains"

    def applies(self, event: Event) -> bool:
        """Whether an event meets the conditions."""
        return next(self.unmet(event), None) is None

    @abstractmethod
    def act(self, event: Event) -> list[Delayed]:
        """What becomes of an attacked event: copies, each with the time until it is passed on."""


class Drop(Rule):
    """Does not pass the event on.

    A dropped request or response leaves the client waiting. The rest of a stream passes without a dropped event.
    """

    name = "drop"
    did = "dropped"

    def act(self, event: Event) -> list[Delayed]:
        """Nothing."""
        return []


class Duplicate(Rule):
    """Passes the event on several times. Of several answers to one HTTP request, the client gets the first."""

    name = "duplicate"
    did = "duplicated"
    copies: int = Field(2, ge=2, le=MAX_COPIES, description="how often it is passed on")

    def act(self, event: Event) -> list[Delayed]:
        """Equal copies."""
        return [(0.0, event)] * self.copies


class Delay(Rule):
    """Passes the event on later."""

    name = "delay"
    did = "delayed"
    by: float = Field(1.0, gt=0, le=MAX_DELAY, description="seconds; steps in the batch, where they are rounded up")

    def act(self, event: Event) -> list[Delayed]:
        """The event, later."""
        return [(self.by, event)]


class Payload(Rule):
    """Changes the payload of the testbed's envelopes under their old seals."""

    name = "payload"
    idle = "they hold no envelopes of agentcomm"
    how: How = Field("flip", description="flip negates the numbers of the payload, zero sets them to zero")

    def model_post_init(self, context: Any) -> None:
        """Load what reads envelopes, which takes seconds, before the first event comes."""
        importlib.import_module("agentcomm.protocols.payloads")

    def act(self, event: Event) -> list[Delayed]:
        """The event with other payloads."""
        from agentcomm.protocols.payloads import change_envelopes

        return [(0.0, replace(event, body=change_envelopes(event.body, self.how)))]


class Edit(Rule):
    """Changes values of JSON bodies at a path, such as ``params.message.parts.*.text``, or adds a key."""

    name = "edit"
    idle = "there is nothing to change at its path"
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
    did = "refused"
    idle = "they are no JSON-RPC answers"
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
class Effect:
    """What one rule did to an event.

    Attributes:
        met: Whether the event met its conditions.
        changed: Whether something else than before was passed on.
    """

    met: bool
    changed: bool


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
        return self.trace(event)[0]

    def trace(self, event: Event) -> tuple[list[Delayed], list[Effect]]:
        """What becomes of an event, and what each rule did to it."""
        passed: list[Delayed] = [(0.0, event)]
        effects: list[Effect] = []
        for index, rule in enumerate(self.rules):
            before, met = passed, [rule.applies(old) for _, old in passed]
            luck = random.Random(f"{self.seed}/{event.direction}/{event.number}/{index}").random()
            if any(met) and luck < rule.probability:
                passed = [
                    (min(held + more, MAX_DELAY), copy)
                    for (held, old), is_met in zip(before, met, strict=True)
                    for more, copy in (rule.act(old) if is_met else [(0.0, old)])
                ][:MAX_COPIES]
            effects.append(Effect(any(met), passed != before))
        return passed, effects


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
