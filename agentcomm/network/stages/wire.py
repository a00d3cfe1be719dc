"""Stages on the wire: attacks, transport, channels and delayed messages."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from agentcomm.contracts.inbox import gather_agents
from agentcomm.contracts.transport import Transport, Wire
from agentcomm.guards.messages import MessageGuard
from agentcomm.network.exchange import Exchange
from agentcomm.network.ledger import Ledger
from agentcomm.network.link import Link
from agentcomm.network.reassembly import CheckedReassembly
from agentcomm.network.stages.stage import Stage
from agentcomm.wire.envelope import PLAIN
from agentcomm.wire.keyring import Keyring


class AttackWire(Stage):
    """Attacks on the wire read, change, inject, delay and drop messages."""

    def __init__(self, guards: Sequence[MessageGuard], keyring: Keyring) -> None:
        self.guards, self.keyring = guards, keyring

    def __call__(self, x: Exchange) -> None:
        """Apply each attack in turn."""
        x.written = x.traffic
        for guard in self.guards:
            predict = x.prediction(guard)
            traffic, did = guard.apply(x.traffic, self.keyring, x.step, x.round, x.links.due, predict)
            x.altered = x.altered | did.tampered
            x.attacked(traffic, did)


class Send(Stage):
    """The transport puts messages on the wire, which determines their size in bytes; channels may add overhead.

    Args:
        transport: Determines the size of messages.
        sealed: Whether every sender seals its messages.
        plain: Bytes of an uncompressed payload.
        codec: Name of the codec.
        added: Bytes that defenses add to every message.
    """

    def __init__(self, transport: Transport, sealed: bool, plain: int, codec: str = PLAIN, added: int = 0) -> None:
        self.transport, self.sealed, self.plain, self.codec, self.added = transport, sealed, plain, codec, added

    def __call__(self, x: Exchange) -> None:
        """Record the messages on the wire and their size."""
        x.departed = x.traffic
        payload: Tensor | int = self.plain
        if x.payload_bytes is not None:
            # A forgery or copy in the codec's format is as long as what its claimed sender says in this exchange.
            payload = gather_agents(x.payload_bytes.unsqueeze(-1), x.traffic.source).squeeze(-1)
        unsaid = x.effects.unsaid
        put = x.put if unsaid is None else x.put & ~unsaid
        wire = Wire(put, x.effects.tampered, self.sealed, payload, self.codec)
        size = self.transport.send(x.traffic if x.written is None else x.written, x.traffic, wire)
        if self.added:
            size = size + self.added
        x.size = x.arrived_size = size if unsaid is None else size.masked_fill(unsaid, 0)


class Carry(Stage):
    """The link carries messages to the receivers; delayed ones arrive in a later step.

    Args:
        link: The link.
        transport: Follows messages, as envelopes.
        ledger: Counts.
        reassembly: Checks fragments before they take up a buffer; None if receivers accept all.
    """

    keeps = ("link", "reassembly")

    def __init__(
        self, link: Link, transport: Transport, ledger: Ledger, reassembly: CheckedReassembly | None = None
    ) -> None:
        self.link, self.transport, self.ledger, self.reassembly = link, transport, ledger, reassembly

    def __call__(self, x: Exchange) -> None:
        """Replace the messages on the wire by those that arrive now."""
        delay, fragments, check = x.effects.delay, x.effects.fragments, self.reassembly
        if check is not None:
            check.begin(x.traffic, x.altered)
        attacked = (x.forged, x.tampered, delay)
        out = self.link.carry(x.traffic, x.size, *attacked, x.step, x.round, fragments, check, x.numbers)
        x.traffic, x.lost, x.forged, x.tampered = out.traffic, out.lost, out.forged, out.tampered
        x.size, x.arrived_size = x.size + out.extra, out.size
        released = out.traffic.present & (out.steps > 0)
        x.covered = x.put & released
        self.transport.carry(x.step, x.round, out.lost, out.waits, out.hops, released)
        lost = out.lost
        for by, where in {} if check is None else check.refused.items():
            x.refused[by], lost = where, lost & ~where
        self.ledger.count(lost=lost, late=out.late)
        self.ledger.arrive(x.traffic.present, out.steps, out.seconds)

    def reset(self, worlds: Tensor) -> None:
        """Count messages in transit at the end of an episode as late."""
        if self.reassembly is not None:
            self.reassembly.reset(worlds)
        self.ledger.cut_off(worlds, self.link.reset(worlds))
