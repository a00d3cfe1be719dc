"""Stages at the receivers: they read messages, unless their gates are closed, and decode them."""

from __future__ import annotations

from agentcomm.base.answers import check_tensor
from agentcomm.base.calling import calling
from agentcomm.base.state import Memory
from agentcomm.contracts.codec import Codec, Received
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


class Decode(Stage):
    """Receivers decode payloads of a stateful codec."""

    def __init__(self, codec: Codec, memory: Memory) -> None:
        self.codec, self.memory = codec, memory
        self.who = f"codec {codec.name!r}"

    def __call__(self, x: Exchange) -> None:
        """Replace the values that arrived by the decoded payloads."""
        t = x.traffic
        wire = t.payload()
        received = Received(wire, t.present, t.sender, t.sequence, x.step, x.round)
        with calling(self.who, "decode"):
            decoded = self.codec.decode(received, self.memory.tensors)
        check_tensor(self.who, "decode", decoded, tuple(wire.shape), wire.dtype, optional=False)
        x.note(self.who, "payload (decode)", decoded, t.present)
        x.traffic = t.add_payload(t.present, decoded - wire)
