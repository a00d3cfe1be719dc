"""Exchange: one round of messages on its way through the stages, from what agents say to the receivers' inboxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.traffic import Links, Traffic
from agentcomm.guards.effects import Effects

Foresee = Callable[[Inbox], Tensor]  # action logits [B, N, A] that follow from an inbox


@dataclass
class Exchange:
    """One round of messages in all worlds; the stages change it in place.

    Attributes:
        spoken: [B, N, D] what agents say.
        links: Who listens to whom.
        step: [B] int64, step of each world's episode.
        round: Number of the exchange within the step.
        foresee: Action logits [B, N, A] that follow from some traffic, for attacks that know the policy; None where
            they are not known.
        traffic: The messages as they are now.
        sent: [B, N, M] bool, messages that agents send.
        put: [B, N, M] bool, everything that agents and attacks put on the wire.
        effects: What attacks did in this exchange.
        forged: [B, N, M] bool, messages in ``traffic`` that an attack put on the wire.
        tampered: [B, N, M] bool, messages in ``traffic`` that an attack changed.
        lost: [B, N, M] bool, messages that the channels lost.
        covered: [B, N, M] bool, messages that will arrive later, in whose slots an earlier one arrives now.
        size: [B, N, M] int64 bytes on the wire.
        written: The messages as their senders wrote and sealed them; None where no attack is on the wire.
        departed: The messages on the wire after all attacks.
        arrived: The messages that reach the receivers, before gates and defenses refuse any.
        refused: [B, N, M] bool, messages refused, by the name of the defense, or ``gate``.
        coding: [B, N, D] what a codec adds to what agents say; None without a codec.
        payload_bytes: [B, N] int64 bytes of each agent's encoded payload; None without a codec.
    """

    spoken: Tensor
    links: Links
    step: Tensor
    round: int
    foresee: Callable[[Traffic], Tensor] | None
    traffic: Traffic
    sent: Tensor
    put: Tensor
    effects: Effects
    forged: Tensor
    tampered: Tensor
    lost: Tensor
    covered: Tensor
    size: Tensor
    departed: Traffic
    arrived: Traffic
    written: Traffic | None = None
    refused: dict[str, Tensor] = field(default_factory=dict)
    coding: Tensor | None = None
    payload_bytes: Tensor | None = None

    @classmethod
    def begin(
        cls, spoken: Tensor, links: Links, step: Tensor, round_: int, rounds: int, spare: int, foresee: Foresee | None
    ) -> Exchange:
        """An exchange before anything happens to its messages.

        Args:
            spoken: [B, N, D].
            links: Who listens to whom.
            step: [B] int64.
            round_: Number of the exchange within the step.
            rounds: Exchanges per step.
            spare: Empty slots to add for injected messages.
            foresee: What the team will do with an inbox; None where that is not known.
        """
        traffic = Traffic.on_links(spoken, links, step, round_, rounds, spare)
        none, zero = torch.zeros_like(traffic.present), torch.zeros_like(traffic.source)

        def after(changed: Traffic) -> Tensor:
            assert foresee is not None
            return foresee(changed.to_inbox(changed.present, links.source))

        return cls(
            spoken=spoken,
            links=links,
            step=step,
            round=round_,
            foresee=None if foresee is None else after,
            traffic=traffic,
            sent=traffic.present,
            put=traffic.present,
            effects=Effects(none, none, none, zero),
            forged=none,
            tampered=none,
            lost=none,
            covered=none,
            size=zero,
            departed=traffic,
            arrived=traffic,
        )

    def attacked(self, traffic: Traffic, did: Effects) -> None:
        """Take over what an attack made of the traffic, and what it did for that."""
        self.traffic, self.effects = traffic, self.effects.and_then(did)
        self.forged, self.tampered = self.effects.forged, self.effects.tampered & ~self.effects.dropped
        self.put = self.sent | self.forged

    def refuse(self, by: str, where: Tensor) -> None:
        """Turn away the messages ``where`` [B, N, M] that are still present, in the name of a defense or ``gate``."""
        where = where & self.traffic.present
        self.refused[by] = where | self.refused[by] if by in self.refused else where
        self.traffic = replace(self.traffic, present=self.traffic.present & ~where)

    def deliver(self, degree: int) -> Inbox:
        """The receivers' inboxes; without spare slots where none of them holds a message.

        Args:
            degree: k, slots of the graph's links.
        """
        t = self.traffic
        delta, scale = t.delta, t.scale
        if delta is not None:
            # Refused payloads must not reach the policy: even a masked one overflows to NaN if it is huge.
            delta = delta.masked_fill(~t.present.unsqueeze(-1), 0.0)
        source, present = t.source, t.present
        if t.slots > degree and not bool(present[..., degree:].any()):
            source, present = source[..., :degree], present[..., :degree]
            scale = None if scale is None else scale[..., :degree]
            delta = None if delta is None else delta[..., :degree, :]
        return Inbox(t.spoken, source, present, self.links.source, scale, delta, coding=self.coding)
