"""Traffic: the messages of one exchange in all worlds, as tensors.

Shapes: B worlds, N agents, M inbox slots per receiver, D payload width. A slot ``[b, i, m]`` is one
envelope addressed to receiver i. The first k slots belong to the links of the graph; the spare slots
after them are empty unless an attack injects a message.

All receivers of a broadcast share one payload: ``spoken`` holds the payload of each agent, and a slot refers to
it by index. Changes to a payload in transit are stored per slot, so that the payload in a slot is

    payload[b, i, m] = scale[b, i, m] * spoken[b, source[b, i, m]] + delta[b, i, m]

``scale`` and ``delta`` are None while no payload has been changed. A rollout records this form and an update
replays it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from agentcomm.base.masks import zero_unless
from agentcomm.base.memo import Memo
from agentcomm.contracts.inbox import Inbox

# Fields of an envelope besides its payload.
HEADER = ("sender", "audience", "sequence", "sent_at", "expiry", "hops", "sent_round", "key", "seal")
LIFETIME = 16  # steps after which a message counts as stale
HOPS = 8  # largest number of hops of a message


def per_round(kept: Tensor, round_: int) -> Tensor:
    """Those of a round [B, N, k] from one set of flags or weights per graph of a step, [B, G, N, k] or [B, N, k]."""
    return kept if kept.dim() == 3 else kept[:, min(round_, kept.shape[1] - 1)]


def like(kept: Tensor | None, flag: Tensor) -> Tensor:
    """Flags or weights of links [B, N, k], to be combined with those of ``kept``, which may have a set per graph."""
    return flag.unsqueeze(1) if kept is not None and kept.dim() == 4 else flag


class Links(NamedTuple):
    """The links over which messages travel in one exchange.

    Attributes:
        source: [B, N, k] int64, the senders that the graph keeps for each receiver.
        open: [B, N] bool, receivers that listen.
        carried: [B, N, k] bool, links on which the sender sends a message; None for all. Those of a whole step may be
            [B, G, N, k], one set per round; see :meth:`of_round`.
        due: [B, N] bool, receivers whose messages this exchange carries; None for all. Where agents act in turns,
            the others receive theirs in another exchange of the step.
    """

    source: Tensor
    open: Tensor
    carried: Tensor | None = None
    due: Tensor | None = None

    def of_round(self, round_: int) -> Links:
        """The links of one round."""
        return self if self.carried is None else self._replace(carried=per_round(self.carried, round_))

    @property
    def listening(self) -> Tensor:
        """[B, N] bool, receivers that listen in this exchange."""
        return self.open if self.due is None else self.open & self.due

    @property
    def present(self) -> Tensor:
        """Links on which a message travels, [B, N, k] bool, or [B, G, N, k] with a set of links per round."""
        present = self.listening.unsqueeze(-1).expand_as(self.source)
        if self.carried is None:
            return present
        return self.carried & (present if self.carried.dim() == 3 else present.unsqueeze(1))

    def only(self, due: Tensor, carried: Tensor) -> Links:
        """The links of the receivers ``due`` [B, N] that are also in ``carried`` [B, N, k]."""
        return Links(self.source, self.open, carried if self.carried is None else carried & self.carried, due)


@dataclass(frozen=True)
class Traffic:
    """Envelopes in transit. Stages return a changed copy.

    Attributes:
        spoken: [B, N, D] payloads as spoken.
        source: [B, N, M] int64, index into ``spoken``.
        present: [B, N, M] bool, slots that hold a message.
        scale: [B, N, M] factor of the payload, or None for 1; see the formula above.
        delta: [B, N, M, D] offset of the payload, or None for 0.
        sender: [B, N, M] int64, claimed sender; N stands for a newcomer.
        origin: [B, N, M] int64, true sender: ground truth for metrics, hidden from attacks and defenses.
        audience: [B, N, M] int64, intended receiver.
        sequence: [B, N, M] int64, sequence number of the sender in this episode.
        sent_at: [B, N, M] int64, step of the episode in which it was sent.
        expiry: [B, N, M] int64, last step at which it counts as fresh.
        hops: [B, N, M] int64, remaining hops; the only field that changes in transit and is not sealed.
        sent_round: [B, N, M] int64, round of the step in which it was sent.
        key: [B, N, M] int64, id of the key that the seal names; -1 for none.
        seal: [B, N, M] int64, symbolic tag over all fields above except origin and hops; 0 for none.
        computed: What :meth:`payload` has computed; changed copies share it.
    """

    spoken: Tensor
    source: Tensor
    present: Tensor
    sender: Tensor
    origin: Tensor
    audience: Tensor
    sequence: Tensor
    sent_at: Tensor
    expiry: Tensor
    hops: Tensor
    sent_round: Tensor
    key: Tensor
    seal: Tensor
    scale: Tensor | None = None
    delta: Tensor | None = None
    computed: Memo = field(default_factory=Memo, repr=False, compare=False)

    @classmethod
    def on_links(cls, spoken: Tensor, links: Links, step: Tensor, round_: int, rounds: int, spare: int) -> Traffic:
        """Envelopes for all open links, unencrypted and unsealed.

        Args:
            spoken: [B, N, D].
            links: The step's links.
            step: [B] int64, steps since the episode began.
            round_: Round of this exchange, 0 .. rounds - 1.
            rounds: Rounds per step.
            spare: Empty slots to add for injected messages.
        """
        worlds, agents, degree = links.source.shape
        source, present = links.source, links.present
        if spare:
            source, present = (nn.functional.pad(x, (0, spare)) for x in (source, present))
        receiver = torch.arange(agents, device=spoken.device).view(1, -1, 1)
        at = step.view(-1, 1, 1).expand_as(source)
        none = torch.zeros_like(source)
        return cls(
            spoken=spoken,
            source=source,
            present=present,
            sender=source,
            origin=source,
            audience=receiver.expand(worlds, -1, degree + spare),
            sequence=at * rounds + round_,
            sent_at=at,
            expiry=at + LIFETIME,
            hops=none + HOPS,
            sent_round=none + round_,
            key=none - 1,
            seal=none,
        )

    @property
    def slots(self) -> int:
        """M."""
        return self.source.shape[-1]

    @property
    def receiver(self) -> Tensor:
        """[B, N, M] int64, the receiver in whose inbox each slot is."""
        return torch.arange(self.source.shape[1], device=self.source.device).view(1, -1, 1).expand_as(self.source)

    def age(self, step: Tensor) -> Tensor:
        """[B, N, M] int64, steps between ``sent_at``, which attacks can forge, and ``step`` [B]; at least 0."""
        return (step.view(-1, 1, 1) - self.sent_at).clamp(0, LIFETIME)

    def payload(self) -> Tensor:
        """[B, N, M, D] current payloads; do not change them in place."""
        parts = (self.spoken, self.source, self.scale, self.delta)
        return self.computed.of(parts, lambda: self.to_inbox(self.present, self.source).payload())

    def edit_payload(self, where: Tensor, new: Tensor) -> Traffic:
        """Replace the payloads of the slots ``where`` [B, N, M] by ``new`` [B, N, M, D], which are constants."""
        scale = torch.ones_like(where, dtype=new.dtype) if self.scale is None else self.scale
        delta = torch.zeros_like(new) if self.delta is None else self.delta
        return replace(
            self,
            scale=scale.masked_fill(where, 0.0),
            delta=torch.where(where.unsqueeze(-1), new, delta),
        )

    def offset_payload(self, where: Tensor, new: Tensor) -> Traffic:
        """Put payloads ``new`` [B, N, M, D] into the slots ``where``, as offsets to what was spoken there.

        Gradients still reach the senders, and a huge payload that is replaced leaves no rounding errors behind.
        """
        offset = new - replace(self.to_inbox(self.present, self.source), delta=None).payload()
        if self.delta is None:
            return replace(self, delta=zero_unless(where, offset))
        return replace(self, delta=torch.where(where.unsqueeze(-1), offset, self.delta))

    def add_payload(self, where: Tensor, change: Tensor) -> Traffic:
        """Add ``change`` [B, N, M, D] to the payloads of the slots ``where``."""
        masked = zero_unless(where, change)
        return replace(self, delta=masked if self.delta is None else self.delta + masked)

    def scale_payload(self, factor: Tensor) -> Traffic:
        """Multiply payloads by ``factor`` [B, N, M]."""
        return replace(
            self,
            scale=factor if self.scale is None else self.scale * factor,
            delta=None if self.delta is None else self.delta * factor.unsqueeze(-1),
        )

    def to_inbox(self, mask: Tensor, links: Tensor) -> Inbox:
        """The receivers' inboxes, where ``mask`` [B, N, M] marks the accepted messages."""
        return Inbox(self.spoken, self.source, mask, links, self.scale, self.delta)
