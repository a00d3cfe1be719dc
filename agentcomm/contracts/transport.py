"""The contract of a transport: it writes the messages of an exchange as bytes, and reads them at the receivers.

All transports share the same stages (``agentcomm/network/stages/``): attacks, channels and defenses work on the tensors
of :class:`~agentcomm.contracts.traffic.Traffic`. A transport is told what happens to each message, so that it can do
the same to its own bytes. It determines three things: the length of a message, what a receiver reads, and whether a
seal is valid. Two transports are equivalent if they give the same ledger and the same inboxes.

A transport between processes sends its bytes in :meth:`Transport.receive`, once everything that happens to them in
transit is known, and waits there for the bytes that arrive.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from agentcomm.base.state import State
from agentcomm.contracts.traffic import Traffic


@dataclass(frozen=True)
class Wire:
    """What happened to messages between their senders and the wire.

    Attributes:
        put: [B, N, M] bool, messages that senders and attacks put on the wire, including those dropped there.
        tampered: [B, N, M] bool, those whose payload an attack changed.
        sealed: Whether every sender seals its messages.
        payload_bytes: [B, N, M] int64, or one number for all: length of each payload as encoded by ``codec``.
        codec: Name of the codec.
    """

    put: Tensor
    tampered: Tensor
    sealed: bool
    payload_bytes: Tensor | int
    codec: str


class Transport(State, ABC):
    """Carries the traffic of B worlds.

    Its methods are called once per exchange, in the order in which they are listed.

    Attributes:
        writes_codecs: Whether it can carry payloads other than float32 numbers of the full width.
    """

    writes_codecs: ClassVar[bool]

    @abstractmethod
    def send(self, sent: Traffic, departed: Traffic, wire: Wire) -> Tensor:
        """Put the messages of an exchange on the wire.

        Args:
            sent: Messages as their senders wrote them, sealed if they seal.
            departed: Messages after all attacks on the wire; dropped messages are not present.
            wire: What happened between the two, and the codec.

        Returns:
            [B, N, M] int64 bytes of each message that was put on the wire, including header and seal, and including
            messages that were dropped there.
        """

    @abstractmethod
    def carry(self, step: Tensor, round_: int, lost: Tensor, waits: Tensor, hops: Tensor, released: Tensor) -> None:
        """Apply loss and delay to the messages in transit; not called if there are no channels.

        Args:
            step: [B] int64.
            round_: Round within the step.
            lost: [B, N, M] bool, messages that never arrive.
            waits: [B, N, M] int64 delay of each message in steps.
            hops: [B, N, M] int64 hops taken.
            released: [B, N, M] bool, slots in which a message from an earlier step arrives.
        """

    @abstractmethod
    def receive(self, traffic: Traffic) -> Traffic:
        """The messages that arrive, as receivers read them."""

    @abstractmethod
    def verify(self, traffic: Traffic) -> Tensor:
        """[B, N, M] bool, whether the claimed sender's key made the seal over the message received in this exchange."""

    @abstractmethod
    def signers(self, traffic: Traffic) -> Tensor:
        """[B, N, M] int64, the key that made the seal over the message received, under whatever name; or -1."""

    @abstractmethod
    def reset(self, worlds: Tensor) -> None:
        """Discard the messages in transit in the given worlds ([W] indices)."""

    def close(self) -> None:
        """End what runs besides this process, such as servers; called once no more messages are sent."""
