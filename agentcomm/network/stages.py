"""The stages of the network: what happens to the messages of an exchange, one step after the other.

A stage is called with an :class:`~agentcomm.network.exchange.Exchange` and changes it in place. What it keeps from one
exchange to the next is its state, which is saved, restored, and reset with each world.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from agentcomm.base.state import Memory, State
from agentcomm.contracts.codec import Codec, Received
from agentcomm.contracts.inbox import gather_agents
from agentcomm.contracts.transport import Transport
from agentcomm.defense import Defense, Delivered
from agentcomm.messages.effects import count_pieces
from agentcomm.messages.guard import Guard
from agentcomm.network.exchange import Exchange
from agentcomm.network.ledger import Ledger
from agentcomm.network.link import Path
from agentcomm.wire.envelope import PLAIN
from agentcomm.wire.keyring import Keyring


class Stage(State, ABC):
    """One thing that happens to messages."""

    @abstractmethod
    def __call__(self, x: Exchange) -> None:
        """Change the exchange in place."""

    def reset(self, worlds: Tensor) -> None:
        """Start the given worlds ([W] indices) afresh; most stages keep nothing."""
        return None


class Encode(Stage):
    """A codec writes payloads as few bits.

    Args:
        codec: The codec.
        memory: Its memory, which :class:`Decode` shares.
    """

    keeps = ("memory",)

    def __init__(self, codec: Codec, memory: Memory) -> None:
        self.codec, self.memory = codec, memory

    def __call__(self, x: Exchange) -> None:
        """Replace what agents say by what travels."""
        values, bits = self.codec.encode(x.spoken, self.memory.tensors, x.step, x.round)
        x.coding, x.payload_bytes = values - x.spoken, (bits + 7) // 8
        x.traffic = replace(x.traffic, spoken=values)

    def reset(self, worlds: Tensor) -> None:
        """Forget what was said in the given worlds ([W] indices)."""
        self.memory.reset(worlds)


class AttackSenders(Stage):
    """Compromised agents change what they say, before anything is sealed or written."""

    def __init__(self, guards: Sequence[Guard], keyring: Keyring) -> None:
        self.guards, self.keyring = guards, keyring

    def __call__(self, x: Exchange) -> None:
        """Let each attack act in turn; what a sender drops was never said."""
        for guard in self.guards:
            traffic, did = guard.apply(x.traffic, self.keyring, x.step, x.round, x.links.due, x.foresee)
            x.attacked(traffic, did)
        x.effects = replace(x.effects, unsaid=x.effects.dropped)


class Seal(Stage):
    """Senders seal their messages."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring

    def __call__(self, x: Exchange) -> None:
        """Seal every message with its true sender's key."""
        x.traffic = self.keyring.seal(x.traffic)


class Send(Stage):
    """Senders hand their messages to the transport."""

    def __init__(self, transport: Transport, sealed: bool) -> None:
        self.transport, self.sealed = transport, sealed

    def __call__(self, x: Exchange) -> None:
        """Put everything on the wire."""
        self.transport.send(x.traffic, self.sealed)


class AttackWire(Stage):
    """Attacks on the wire: they read, change, add, delay and drop messages."""

    def __init__(self, guards: Sequence[Guard], keyring: Keyring, transport: Transport) -> None:
        self.guards, self.keyring, self.transport = guards, keyring, transport

    def __call__(self, x: Exchange) -> None:
        """Let each attack act in turn."""
        for guard in self.guards:
            traffic, did = guard.apply(x.traffic, self.keyring, x.step, x.round, x.links.due, x.foresee)
            x.attacked(traffic, did)
            self.transport.rewrite(traffic, did.tampered, did.forged, did.dropped)


class Measure(Stage):
    """The bytes of each message on the wire, measured here and nowhere else; channels may add some.

    Args:
        transport: Knows how long a message is.
        plain: Bytes of a payload that no codec packs.
        codec: Name of the codec.
    """

    def __init__(self, transport: Transport, plain: int, codec: str = PLAIN) -> None:
        self.transport, self.plain, self.codec = transport, plain, codec

    def __call__(self, x: Exchange) -> None:
        """Note what is on the wire, and how long it is."""
        x.departed = x.arrived = x.traffic
        payload: Tensor | int = self.plain
        if x.payload_bytes is not None:  # forged payloads are not encoded
            said = gather_agents(x.payload_bytes.unsqueeze(-1), x.traffic.source).squeeze(-1)
            payload = said.masked_fill(x.forged, self.plain)
        x.size = self.transport.measure(x.traffic, payload, self.codec)
        unsaid = x.effects.unsaid
        if unsaid is not None and bool(unsaid.any()):
            x.size = x.size.masked_fill(unsaid, 0)


class Carry(Stage):
    """Channels, and messages that take longer than their exchange."""

    keeps = ("path",)

    def __init__(self, path: Path, transport: Transport, ledger: Ledger) -> None:
        self.path, self.transport, self.ledger = path, transport, ledger

    def __call__(self, x: Exchange) -> None:
        """From what was put on the wire to what arrives now."""
        delay, pieces = x.effects.delay, x.effects.pieces
        out = self.path.carry(x.traffic, x.size, x.forged, x.tampered, delay, x.step, x.round, pieces)
        x.traffic, x.lost, x.forged, x.tampered = out.traffic, out.lost, out.forged, out.tampered
        x.size = x.size + out.extra
        released = out.traffic.present & (out.steps > 0)
        x.covered = x.put & released
        self.transport.carry(x.step, x.round, out.lost, out.waits, out.hops, released)
        self.ledger.count(lost=out.lost, late=out.late)
        self.ledger.arrive(x.traffic.present, out.steps, out.seconds)

    def reset(self, worlds: Tensor) -> None:
        """Messages on their way when an episode ends come too late."""
        self.ledger.cut_off(worlds, self.path.reset(worlds))


class Receive(Stage):
    """Receivers read what arrives."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def __call__(self, x: Exchange) -> None:
        """Take what the transport read from the wire."""
        x.traffic = x.arrived = self.transport.receive(x.traffic)


class CloseGates(Stage):
    """A receiver that does not listen hears nothing: neither injected messages nor late ones."""

    def __call__(self, x: Exchange) -> None:
        """Refuse messages for closed gates."""
        unheard = x.traffic.present & ~x.links.listening.unsqueeze(-1)
        if bool(unheard.any()):
            x.refuse("gate", unheard)


class Screen(Stage):
    """One defense judges what arrived.

    Args:
        defense: The defense.
        transport: Tells whose seal it is.
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
    """Receivers turn what arrived into payloads, where that takes what they heard before."""

    def __init__(self, codec: Codec, memory: Memory) -> None:
        self.codec, self.memory = codec, memory

    def __call__(self, x: Exchange) -> None:
        """Replace what travelled by what it stands for."""
        t = x.traffic
        wire = t.payload()
        received = Received(wire, t.present, t.sender, t.sequence, x.step, x.round)
        decoded = self.codec.decode(received, self.memory.tensors)
        x.traffic = t.add_payload(t.present, decoded - wire)


class Spread(Stage):
    """Receivers that accept a message of a spreading attack belong to it from now on."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        self.guards = guards

    def __call__(self, x: Exchange) -> None:
        """Tell the attacks which messages were accepted."""
        for guard in self.guards:
            guard.turn(x.traffic.present)


class Count(Stage):
    """The ledger: messages, bytes and refusals.

    Args:
        ledger: Where to count.
        attacked: Whether there are attacks to count.
    """

    def __init__(self, ledger: Ledger, attacked: bool) -> None:
        self.ledger, self.attacked = ledger, attacked

    def __call__(self, x: Exchange) -> None:
        """Count what became of the messages."""
        accepted, did = x.traffic.present, x.effects
        self.ledger.count(sent=x.sent, accepted=accepted)
        self.ledger.carry(x.put, x.size)
        for by, where in x.refused.items():
            self.ledger.refuse(by, where)
        if not self.attacked:
            return
        self.ledger.count(
            dropped=did.dropped,
            delayed=did.delay > 0,
            tampered=did.tampered & ~did.dropped,
            forged=did.forged,
            accepted_forged=accepted & x.forged,
            accepted_tampered=accepted & x.tampered,
        )
        if did.pieces is not None:
            self.ledger.count(fragments=count_pieces(did.pieces))
