"""The contract of a transport: how the messages of an exchange become bytes, and how receivers read them.

Every transport runs the same stages (``agentcomm/network/stages.py``): attacks, channels and defenses work on the
tensors of :class:`~agentcomm.contracts.traffic.Traffic`. A transport is told what happens to each message on the wire,
so that it can do the same to bytes of its own, and it has three answers: how long a message is, what a receiver reads,
and whose seal it is. Two transports agree where they give the same ledger and the same inboxes.

A transport that sends bytes to other processes starts to send in :meth:`Transport.carry`, when everything that happens
on the wire has happened, and waits in :meth:`Transport.receive` for what arrives.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from agentcomm.base.state import State
from agentcomm.contracts.traffic import Traffic


class Transport(State, ABC):
    """What carries the traffic of B worlds.

    Its methods are called in the order in which they are listed, once per exchange; :meth:`rewrite` once per attack.

    Attributes:
        writes_codecs: Whether it can carry payloads that are not float32 numbers of the full width.
    """

    writes_codecs: ClassVar[bool]

    @abstractmethod
    def send(self, traffic: Traffic, sealed: bool) -> None:
        """Take over what senders put on the wire.

        Args:
            traffic: One exchange, after compromised senders changed what they say.
            sealed: Whether every sender seals its messages.
        """

    @abstractmethod
    def rewrite(self, traffic: Traffic, tampered: Tensor, forged: Tensor, dropped: Tensor) -> None:
        """Follow what one attack did on the wire.

        Args:
            traffic: The exchange after it.
            tampered: [B, N, M] bool, messages whose payload it changed.
            forged: [B, N, M] bool, messages it added.
            dropped: [B, N, M] bool, messages it removed.
        """

    @abstractmethod
    def measure(self, traffic: Traffic, payload_bytes: Tensor | int, codec: str) -> Tensor:
        """[B, N, M] int64 bytes of each message on the wire, header and seal included.

        Args:
            traffic: What is on the wire.
            payload_bytes: [B, N, M] int64, or the same for all: length of the payload as ``codec`` packs it.
            codec: Name of the codec.
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
