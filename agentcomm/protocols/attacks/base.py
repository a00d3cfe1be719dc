"""An attack on a real agent protocol: what an attacker does to SDK servers and clients, and whether it worked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from agentcomm.protocols.attacks.trying import innermost
from agentcomm.protocols.carrier import Protocol

Parts = TypeVar("Parts")
Defense = Callable[[Parts], None]


@dataclass(frozen=True)
class Outcome:
    """What an attack achieved.

    Attributes:
        succeeded: Whether the attacker got what the attack is after.
        honest: Whether honest callers still got what they asked for in the same setting. A defense that stops an attack
            by refusing everybody has ``honest=False``, and has stopped nothing. Neither has an attack whose own calls
            were not answered in time.
        evidence: The counts and texts that the two are concluded from; JSON values only.
    """

    succeeded: bool
    honest: bool = True
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """``succeeded``, ``stopped``, or ``inconclusive`` if honest callers are refused or no call is answered."""
        if not self.honest:
            return "inconclusive"
        return "succeeded" if self.succeeded else "stopped"


class ProtocolAttack(ABC, Generic[Parts]):
    """One attack, on one protocol.

    An attack starts real SDK servers on loopback sockets and calls them with real SDK clients. Both are made of
    ``Parts`` (:class:`~agentcomm.protocols.attacks.a2a_lab.A2AParts` or
    :class:`~agentcomm.protocols.attacks.mcp_lab.MCPParts`), which the defenses change before they are put together.
    With no defenses, the SDK's own defaults are attacked.

    Attributes:
        name: The attack's name; attacks on two protocols that have the same aim share it.
        protocol: The attacked protocol.
        finding: The attacked property, as a sentence.
    """

    name: ClassVar[str]
    protocol: ClassVar[Protocol]
    finding: ClassVar[str]

    async def run(self, defenses: Sequence[Defense[Parts]] = ()) -> Outcome:
        """Carry the attack out once.

        A call without an answer in time, or any other error of the attack itself, makes the outcome inconclusive.

        Args:
            defenses: Functions that change the parts of servers and clients, called in this order.
        """
        parts = self.parts()
        for defend in defenses:
            defend(parts)
        try:
            return await self.attempt(parts)
        except Exception as error:  # what an attack does not expect proves nothing about the defenses
            found = innermost(error)
            return Outcome(False, False, {"error": f"{type(found).__name__}: {found}"[:200]})

    @abstractmethod
    def parts(self) -> Parts:
        """The undefended parts: the SDK's defaults, and the features that the attack is about."""

    @abstractmethod
    async def attempt(self, parts: Parts) -> Outcome:
        """Attack servers and clients made of these parts, and say what it achieved."""
