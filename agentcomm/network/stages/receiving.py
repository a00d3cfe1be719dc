"""Stages at the receivers: they read messages, and defenses decide which of them may be used."""

from __future__ import annotations

from torch import Tensor

from agentcomm.base.state import Memory
from agentcomm.contracts.codec import Codec, Received
from agentcomm.contracts.defense import Defense, Delivered
from agentcomm.contracts.transport import Transport
from agentcomm.network.exchange import Exchange
from agentcomm.network.stages.stage import Stage


class Receive(Stage):
    """Receivers read the messages that arrive."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def __call__(self, x: Exchange) -> None:
        """Replace the traffic by what the transport reads from the wire."""
        x.traffic = x.arrived = self.transport.receive(x.traffic)


class CloseGates(Stage):
    """Receivers with closed gates accept nothing, neither injected nor delayed messages."""

    def __call__(self, x: Exchange) -> None:
        """Refuse messages to closed gates."""
        unheard = x.traffic.present & ~x.links.listening.unsqueeze(-1)
        if bool(unheard.any()):
            x.refuse("gate", unheard)


class Screen(Stage):
    """One defense screens the messages that arrived.

    Args:
        defense: The defense.
        transport: Verifies seals.
    """

    keeps = ("memory",)

    def __init__(self, defense: Defense, transport: Transport) -> None:
        self.defense, self.transport = defense, transport
        self.memory = Memory(defense.memory)

    def __call__(self, x: Exchange) -> None:
        """Refuse messages and scale payloads."""
        delivered = Delivered(x.traffic, self.transport, x.step, x.round, x.arrived)
        verdicts = self.defense.screen(delivered, self.memory.tensors)
        if verdicts.refuse is not None:
            x.refuse(self.defense.name, verdicts.refuse)
        if verdicts.scale is not None:
            x.traffic = x.traffic.scale_payload(verdicts.scale)

    def reset(self, worlds: Tensor) -> None:
        """Forget the given worlds ([W] indices)."""
        self.memory.reset(worlds)


class Decode(Stage):
    """Receivers decode payloads of a stateful codec."""

    def __init__(self, codec: Codec, memory: Memory) -> None:
        self.codec, self.memory = codec, memory

    def __call__(self, x: Exchange) -> None:
        """Replace the values that arrived by the decoded payloads."""
        t = x.traffic
        wire = t.payload()
        received = Received(wire, t.present, t.sender, t.sequence, x.step, x.round)
        decoded = self.codec.decode(received, self.memory.tensors)
        x.traffic = t.add_payload(t.present, decoded - wire)
