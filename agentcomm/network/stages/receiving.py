"""Stages at the receivers: they read messages, unless their gates are closed, and decode them."""

from __future__ import annotations

import torch

from agentcomm.base.calling import answered, calling
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

    def __call__(self, x: Exchange) -> None:
        """Replace the values that arrived by the decoded payloads."""
        t = x.traffic
        wire = t.payload()
        received = Received(wire, t.present, t.sender, t.sequence, x.step, x.round)
        what = f"codec {self.codec.name!r}"
        with calling(what, "decode"):
            decoded = answered(
                self.codec.decode(received, self.memory.tensors), torch.Tensor, what, "decode", "payloads [B, N, M, D]"
            )
        x.traffic = t.add_payload(t.present, decoded - wire)
