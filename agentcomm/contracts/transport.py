"""The contract of a transport: how the messages of an exchange become bytes, and how receivers read them.

Every transport runs the same stages (``agentcomm/network/stages/``): attacks, channels and defenses work on the tensors
of :class:`~agentcomm.contracts.traffic.Traffic`. A transport is told what happens to each message, so that it can do
the same to bytes of its own, and it answers three questions: how long a message is, what a receiver reads, and whose
seal it is. Two transports agree where they give the same ledger and the same inboxes.

A transport that talks to other processes sends its bytes in :meth:`Transport.receive`, when everything that happens
on their way is known, and waits there for what arrives.
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
    """What happened to messages from their senders to the wire.

    Attributes:
        put: [B, N, M] bool, messages that senders and attacks put on the wire, dropped there or not.
        tampered: [B, N, M] bool, those of them whose payload an attack changed.
        sealed: Whether every sender seals its messages.
        payload_bytes: [B, N, M] int64, or the same for all: length of each payload as ``codec`` packs it.
        codec: Name of the codec.
    """

    put: Tensor
    tampered: Tensor
    sealed: bool
    payload_bytes: Tensor | int
    codec: str


class Transport(State, ABC):
    """What carries the traffic of B worlds.

    Its methods are called once per exchange, in the order in which they are listed.

    Attributes:
        writes_codecs: Whether it can carry payloads that are not float32 numbers of the full width.
    """

    writes_codecs: ClassVar[bool]

    @abstractmethod
    def send(self, sent: Traffic, departed: Traffic, wire: Wire) -> Tensor:
        """Put the messages of an exchange on the wire.

        Args:
            sent: What senders hand over, with their seals if they seal.
            departed: What is on the wire once the attacks there have acted; dropped messages are not present.
            wire: What happened between the two, and what the bytes depend on.

        Returns:
            [B, N, M] int64 bytes of each message that was put on the wire, header and seal included, those that were
            dropped there, too.
        """

    @abstractmethod
    def carry(self, step: Tensor, round_: int, lost: Tensor, waits: Tensor, hops: Tensor, released: Tensor) -> None:
        """Follow what happens to messages between sender and receiver; not called where nothing can happen to them.

        Args:
            step: [B] int64.
            round_: Round within the step.
            lost: [B, N, M] bool, messages that never arrive.
            waits: [B, N, M] int64, for how many steps messages are kept back.
            hops: [B, N, M] int64 hops taken.
            released: [B, N, M] bool, slots in which a message arrives that was kept back in an earlier step.
        """

    @abstractmethod
    def receive(self, traffic: Traffic) -> Traffic:
        """What receivers read of the messages that arrive."""

    @abstractmethod
    def verify(self, traffic: Traffic) -> Tensor:
        """[B, N, M] bool, whether the claimed sender's key made the seal over what was received in this exchange."""

    @abstractmethod
    def reset(self, worlds: Tensor) -> None:
        """Forget what is on its way in the given worlds ([W] indices)."""
