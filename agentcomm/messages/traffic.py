"""Traffic: the messages of one exchange in all worlds, as tensors.

Shapes: B worlds, N agents, M inbox slots per receiver, D payload width. A slot ``[b, i, m]`` is one
envelope addressed to receiver i. The first k slots belong to the links of the graph; the spare ones
after them are empty unless somebody injects a message.

A message to many is one payload: ``spoken`` holds what each agent said, and a slot only points to it.
What stages do to a payload on its way is kept beside it, so that the payload in a slot is

    payload[b, i, m] = scale[b, i, m] * spoken[b, source[b, i, m]] + delta[b, i, m]

with ``scale`` and ``delta`` absent while nobody has touched anything. The same form is what a rollout
records and an update replays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

# What an envelope says besides its payload.
HEADER = ("sender", "audience", "sequence", "sent_at", "expiry", "hops", "kind", "key", "seal")
LIFETIME = 16  # steps after which a message counts as stale
HOPS = 8  # hops a message may take


def gather_agents(values: Tensor, index: Tensor) -> Tensor:
    """Pick per-agent vectors: values [B, N, D], index [B, N, M] of agents -> [B, N, M, D]."""
    worlds, agents, width = values.shape
    offset = torch.arange(worlds, device=values.device).view(-1, 1, 1) * agents
    flat = (index + offset).reshape(-1)
    return values.reshape(worlds * agents, width).index_select(0, flat).view(*index.shape, width)


class Links(NamedTuple):
    """Who is listened to in one exchange.

    Attributes:
        source: [B, N, k] int64, the senders that the graph keeps for each receiver.
        open: [B, N] bool, receivers that listen.
        carried: [B, N, k] bool, links on which the sender says something; None for all.
        due: [B, N] bool, receivers whose messages this exchange carries; None for all. Where agents act in turns,
            the others have theirs in another exchange of the step.
    """

    source: Tensor
    open: Tensor
    carried: Tensor | None = None
    due: Tensor | None = None

    @property
    def listening(self) -> Tensor:
        """[B, N] bool, receivers that listen in this exchange."""
        return self.open if self.due is None else self.open & self.due

    @property
    def present(self) -> Tensor:
        """[B, N, k] bool, links on which a message travels."""
        present = self.listening.unsqueeze(-1).expand_as(self.source)
        return present if self.carried is None else present & self.carried

    def only(self, due: Tensor, carried: Tensor) -> Links:
        """Of these links, those of the receivers that are due [B, N] and that are in ``carried`` [B, N, k], too."""
        return Links(self.source, self.open, carried if self.carried is None else carried & self.carried, due)


class ProjectionCache:
    """Linear images of payloads, kept while agents speak one after the other (a key/value cache).

    Args:
        spoken: [1, S, D] payloads, zero for those that have not spoken yet.
    """

    def __init__(self, spoken: Tensor) -> None:
        self.spoken = spoken
        self._images: dict[int, Tensor] = {}
        self._pending: dict[int, list[Tensor]] = {}

    def speak(self, rows: Tensor, payload: Tensor) -> None:
        """The agents ``rows`` [R] say ``payload`` [R, D]."""
        self.spoken[0, rows] = payload
        for pending in self._pending.values():
            pending.append(rows)

    def project(self, weight: Tensor) -> Tensor:
        """``spoken @ weight.T`` [1, S, out]; only rows spoken since the last call are computed."""
        key = weight.data_ptr()
        if key not in self._images:
            self._images[key] = nn.functional.linear(self.spoken, weight)
            self._pending[key] = []
        for rows in self._pending[key]:
            self._images[key][0, rows] = nn.functional.linear(self.spoken[0, rows], weight)
        self._pending[key].clear()
        return self._images[key]


@dataclass(frozen=True)
class Inbox:
    """What the receivers may use: accepted slots only count where ``mask`` is True.

    Attributes:
        spoken: [B, N, D] payloads as the senders made them (gradients flow through these).
        source: [B, N, M] int64, whose payload sits in the slot.
        mask: [B, N, M] bool, accepted messages.
        scale: [B, N, M] factor, or None for 1.
        delta: [B, N, M, D] offset, or None for 0.
        weight: [B, N, M] straight-through weight of the edge (value 1), or None.
        links: [B, N, k] int64, the graph's senders.
        coding: [B, N, D], what a codec added to what agents said: ``spoken`` is the sum. None without a codec.
        receiver: [B, R] int64, whose inboxes these are; None for all N agents in order.
        cache: Keeps projections of ``spoken`` from one turn to the next.

    The inboxes of some receivers only (see :meth:`rows`) count as one world with all B * N agents in it.
    """

    spoken: Tensor
    source: Tensor
    mask: Tensor
    links: Tensor
    scale: Tensor | None = None
    delta: Tensor | None = None
    weight: Tensor | None = None
    coding: Tensor | None = None
    receiver: Tensor | None = None
    cache: ProjectionCache | None = None

    def mutual(self) -> Tensor:
        """[B, N, M] bool, slots whose sender listens to the receiver, too (A_ji)."""
        receiver = self.receiver
        if receiver is None:
            receiver = torch.arange(self.links.shape[1], device=self.links.device).unsqueeze(0)
        return (gather_agents(self.links, self.source) == receiver[..., None, None]).any(-1)

    def materialized(self) -> Inbox:
        """The same with the codec's part in every slot's ``delta``, for payloads that are spoken one by one."""
        if self.coding is None:
            return self
        coding = gather_agents(self.coding, self.source)
        if self.scale is not None:
            coding = coding * self.scale.unsqueeze(-1)
        delta = coding if self.delta is None else self.delta + coding
        return replace(self, spoken=self.spoken - self.coding, delta=delta, coding=None)

    def merge(self, later: Inbox, receivers: Tensor) -> Inbox:
        """These inboxes, but for some receivers [B, N] those of a later exchange of the same payloads."""
        slots = max(self.mask.shape[-1], later.mask.shape[-1])
        where = receivers.unsqueeze(-1)

        def widen(x: Tensor) -> Tensor:
            return nn.functional.pad(x, (0, slots - x.shape[-1]))

        def factor(inbox: Inbox) -> Tensor:
            return inbox.mask.new_ones(inbox.mask.shape, dtype=torch.float32) if inbox.scale is None else inbox.scale

        def offset(inbox: Inbox) -> Tensor:
            if inbox.delta is None:
                return inbox.spoken.new_zeros(*inbox.mask.shape[:2], slots, inbox.spoken.shape[-1])
            return nn.functional.pad(inbox.delta, (0, 0, 0, slots - inbox.mask.shape[-1]))

        scale = delta = None
        if self.scale is not None or later.scale is not None:
            scale = torch.where(where, widen(factor(later)), widen(factor(self)))
        if self.delta is not None or later.delta is not None:
            delta = torch.where(where.unsqueeze(-1), offset(later), offset(self))
        return replace(
            self,
            source=torch.where(where, widen(later.source), widen(self.source)),
            mask=torch.where(where, widen(later.mask), widen(self.mask)),
            scale=scale,
            delta=delta,
        )

    def rows(self, rows: Tensor, cache: ProjectionCache) -> Inbox:
        """The inboxes of receivers ``rows`` ([R] int64, world * N + agent): every tensor becomes [1, R, ...]."""
        worlds, agents = self.source.shape[:2]
        offset = (torch.arange(worlds, device=rows.device) * agents).view(-1, 1, 1)

        def pick(x: Tensor) -> Tensor:
            return x.flatten(0, 1)[rows].unsqueeze(0)

        return Inbox(
            cache.spoken,
            pick(self.source + offset),
            pick(self.mask),
            (self.links + offset).flatten(0, 1).unsqueeze(0),
            None if self.scale is None else pick(self.scale),
            None if self.delta is None else pick(self.delta),
            receiver=rows.unsqueeze(0),
            cache=cache,
        )

    def payload(self) -> Tensor:
        """Payloads per slot [B, N, M, D]."""
        return self._place(gather_agents(self.spoken, self.source), self.delta)

    def project(self, weight: Tensor, plain: Tensor | None = None) -> Tensor:
        """``payload() @ weight.T`` [B, N, M, out], computed once per sender: W(s m + d) = s W m + W d.

        Args:
            weight: [out, D].
            plain: ``spoken @ weight.T`` [B, N, out], if the caller has it already.
        """
        if plain is None:
            plain = nn.functional.linear(self.spoken, weight) if self.cache is None else self.cache.project(weight)
        image = self._place(gather_agents(plain, self.source), None)
        if self.delta is None:
            return image
        changed = self.delta.abs().amax(-1) != 0
        if self.delta.requires_grad or 2 * int(changed.sum()) > changed.numel():
            return image + nn.functional.linear(self.delta, weight)
        at = changed.nonzero(as_tuple=True)  # few: the others need no product
        return image.index_put(at, nn.functional.linear(self.delta[at], weight), accumulate=True)

    def _place(self, gathered: Tensor, offset: Tensor | None) -> Tensor:
        if self.scale is not None:
            gathered = gathered * self.scale.unsqueeze(-1)
        return gathered if offset is None else gathered + offset


@dataclass(frozen=True)
class Traffic:
    """Envelopes on their way. Stages return a changed copy.

    Attributes:
        spoken: [B, N, D] payloads as spoken.
        source: [B, N, M] int64, index into ``spoken``.
        present: [B, N, M] bool, slots that hold a message.
        scale: [B, N, M] or None; see the module's formula.
        delta: [B, N, M, D] or None.
        sender: [B, N, M] int64, who the envelope claims sent it; N stands for a newcomer.
        origin: [B, N, M] int64, who really did: ground truth for metrics, never shown to attack or defense.
        audience: [B, N, M] int64, the receiver it was written for.
        sequence: [B, N, M] int64, the sender's running number in this episode.
        sent_at: [B, N, M] int64, step of the episode.
        expiry: [B, N, M] int64, last step at which it counts as fresh.
        hops: [B, N, M] int64, hops it may still take; the one field that changes on its way, and is not sealed.
        kind: [B, N, M] int64, the round of the exchange within a step.
        key: [B, N, M] int64, id of the key the seal names, -1 for none.
        seal: [B, N, M] int64, symbolic tag over all fields above but origin and hops; 0 for none.
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
    kind: Tensor
    key: Tensor
    seal: Tensor
    scale: Tensor | None = None
    delta: Tensor | None = None

    @classmethod
    def on_links(cls, spoken: Tensor, links: Links, step: Tensor, kind: int, rounds: int, spare: int) -> Traffic:
        """Envelopes for all open links, in clear and unsealed.

        Args:
            spoken: [B, N, D].
            links: The step's links.
            step: [B] int64, steps since the episode began.
            kind: Round of this exchange, 0 .. rounds - 1.
            rounds: Exchanges per step.
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
            sequence=at * rounds + kind,
            sent_at=at,
            expiry=at + LIFETIME,
            hops=none + HOPS,
            kind=none + kind,
            key=none - 1,
            seal=none,
        )

    @property
    def slots(self) -> int:
        """M."""
        return self.source.shape[-1]

    @property
    def receiver(self) -> Tensor:
        """[B, N, M] int64, whose inbox each slot is in."""
        return torch.arange(self.source.shape[1], device=self.source.device).view(1, -1, 1).expand_as(self.source)

    def payload(self) -> Tensor:
        """[B, N, M, D] payloads as they are now."""
        return self.to_inbox(self.present, self.source).payload()

    def edit_payload(self, where: Tensor, new: Tensor) -> Traffic:
        """Put payloads ``new`` [B, N, M, D] into the slots ``where`` [B, N, M]; a constant from then on."""
        scale = torch.ones_like(where, dtype=new.dtype) if self.scale is None else self.scale
        delta = torch.zeros_like(new) if self.delta is None else self.delta
        return replace(
            self,
            scale=scale.masked_fill(where, 0.0),
            delta=torch.where(where.unsqueeze(-1), new, delta),
        )

    def add_payload(self, where: Tensor, change: Tensor) -> Traffic:
        """Add ``change`` [B, N, M, D] to the payloads of the slots ``where``."""
        masked = torch.where(where.unsqueeze(-1), change, 0.0)
        return replace(self, delta=masked if self.delta is None else self.delta + masked)

    def scale_payload(self, factor: Tensor) -> Traffic:
        """Multiply payloads by ``factor`` [B, N, M]."""
        return replace(
            self,
            scale=factor if self.scale is None else self.scale * factor,
            delta=None if self.delta is None else self.delta * factor.unsqueeze(-1),
        )

    def to_inbox(self, mask: Tensor, links: Tensor) -> Inbox:
        """The receivers' side of this traffic, with ``mask`` [B, N, M] saying what was accepted."""
        return Inbox(self.spoken, self.source, mask, links, self.scale, self.delta)
