"""The contract of a defense: it looks at what reached the receivers and says what they may use."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, Protocol, get_args

from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.traffic import Traffic

Order = Literal[
    "schema", "authenticate", "freshness", "quota", "reassemble", "authorize", "content", "trust", "audit", "response"
]
ORDERS: tuple[Order, ...] = get_args(Order)


class Verifier(Protocol):
    """Who can tell whose seal it is: the batch's keyring, or real keys."""

    def verify(self, traffic: Traffic) -> Tensor:
        """[B, N, M] bool, whether the claimed sender's key made the seal over these very fields."""
        ...


class Delivered:
    """What receivers see of an exchange: everything on the envelope, never its true origin.

    Args:
        traffic: The messages; a defense sees ``present`` as left by the defenses before it.
        verifier: Verifies seals.
        step: [B] int64, the receivers' clock.
        round_: Exchange within the step.
        arrived: The messages before any defense touched them, which is what their seals are about.
    """

    def __init__(self, traffic: Traffic, verifier: Verifier, step: Tensor, round_: int, arrived: Traffic) -> None:
        self._traffic = traffic
        self._verifier = verifier
        self._arrived = arrived
        self.step = step
        self.round = round_
        self.present = traffic.present
        self.receiver = traffic.receiver
        self.sender = traffic.sender
        self.audience = traffic.audience
        self.sequence = traffic.sequence
        self.sent_at = traffic.sent_at
        self.expiry = traffic.expiry
        self.hops = traffic.hops
        self.sent_round = traffic.sent_round
        self.key = traffic.key

    @cached_property
    def payload(self) -> Tensor:
        """[B, N, M, D] payloads as received."""
        return self._traffic.payload().detach()

    @cached_property
    def sealed_by_sender(self) -> Tensor:
        """[B, N, M] bool, whether the seal is the claimed sender's and covers these very fields."""
        return self._verifier.verify(self._arrived)


@dataclass(frozen=True)
class Verdicts:
    """What a defense decides.

    Attributes:
        refuse: [B, N, M] bool, messages to turn away.
        scale: [B, N, M] factor for the payloads of the rest.
    """

    refuse: Tensor | None = None
    scale: Tensor | None = None


class DefenseConfig(PluginConfig):
    """Arguments every defense has."""


D_co = TypeVar("D_co", bound=DefenseConfig, default=DefenseConfig, covariant=True)


class Defense(Plugin[D_co]):
    """A stage at the receivers. Implement :meth:`screen`.

    Attributes:
        order: Its place among the defenses; they always run in the order of ``ORDERS``.
        needs_seal: Whether messages must be sealed for it to work (adds bytes to each).
        resample: Chance with which each agent's action is drawn anew from what its policy declares.
    """

    order: ClassVar[Order]
    needs_seal: ClassVar[bool] = False
    resample: float = 0.0

    def __init__(self, config: D_co, team_shape: TeamShape) -> None:
        self.config = config
        self.team_shape = team_shape

    @abstractmethod
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Judge one exchange; ``memory`` may be changed in place."""

    def memory(self) -> dict[str, Tensor]:
        """Fresh memory: tensors [B, ...] reset with their world."""
        return {}
