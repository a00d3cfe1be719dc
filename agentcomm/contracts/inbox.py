"""Inbox: the messages that the receivers of one exchange may use.

Shapes: B worlds, N agents, M inbox slots per receiver, D payload width. The first k slots belong to the links of the
graph. All receivers of a broadcast share one payload: ``spoken`` holds the payload of each agent, a slot refers to it
by index, and changes in transit are stored per slot:

    payload[b, i, m] = scale[b, i, m] * spoken[b, source[b, i, m]] + delta[b, i, m]

``scale`` and ``delta`` are None where no payload was changed. A rollout records this form and an update replays it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


def gather_agents(values: Tensor, index: Tensor) -> Tensor:
    """Gather per-agent vectors: values [B, N, D], index [B, N, M] of agents -> [B, N, M, D]."""
    worlds, agents, width = values.shape
    offset = torch.arange(worlds, device=values.device).view(-1, 1, 1) * agents
    flat = (index + offset).reshape(-1)
    return values.reshape(worlds * agents, width).index_select(0, flat).view(*index.shape, width)


class ProjectionCache:
    """Projections of payloads, kept while agents speak one after the other (a key/value cache).

    Args:
        spoken: [1, S, D] payloads, zero for those that have not spoken yet.
    """

    def __init__(self, spoken: Tensor) -> None:
        self.spoken = spoken
        self._images: dict[int, Tensor] = {}
        self._pending: dict[int, list[Tensor]] = {}

    def speak(self, rows: Tensor, payload: Tensor) -> None:
        """Store ``payload`` [R, D] as the payloads of the agents ``rows`` [R]."""
        self.spoken[0, rows] = payload
        self.refresh(rows)

    def refresh(self, rows: Tensor) -> None:
        """Take note that the payloads of the agents ``rows`` [R] were changed in place."""
        for pending in self._pending.values():
            pending.append(rows)

    def project(self, weight: Tensor) -> Tensor:
        """``spoken @ weight.T`` [1, S, out]; only rows stored since the last call are computed."""
        key = weight.data_ptr()
        if key not in self._images:
            self._images[key] = nn.functional.linear(self.spoken, weight)
            self._pending[key] = []
        for rows in self._pending[key]:
            self._images[key][0, rows] = nn.functional.linear(self.spoken[0, rows], weight)
        self._pending[key].clear()
        return self._images[key]


@dataclass(frozen=True, eq=False)
class Members:
    """The members of a vote: the inboxes that a policy is asked about instead of the one that was delivered.

    Attributes:
        heard: [S, B, N, M] bool, the slots that each member may hear.
        noise: Standard deviation of the Gaussian noise added to each entry of what a member hears.
        randn: Standard normal random numbers of a shape.
    """

    heard: Tensor
    noise: float
    randn: Callable[..., Tensor]

    def __len__(self) -> int:
        return len(self.heard)


@dataclass(frozen=True)
class Inbox:
    """The messages that receivers may use: the slots where ``mask`` is True.

    Attributes:
        spoken: [B, N, D] payloads as the senders computed them (gradients flow through these).
        source: [B, N, M] int64, agent whose payload is in the slot.
        mask: [B, N, M] bool, accepted messages.
        scale: [B, N, M] factor, or None for 1.
        delta: [B, N, M, D] offset, or None for 0.
        weight: [B, N, M] straight-through weight of a link, with value 1 where its message was heard and 0 where it was
            closed. None in rollouts, and where no gradient reaches links.
        closed: [B, N, M] bool, links without a message only because a graph or gate with such weights closed them; both
            ends are present. Their payloads are those that would have been sent. False in spare slots, None without.
        listening: [B, N] straight-through weight of a receiver's gate, with value 1 where it was open and 0 where it
            was closed, or None.
        open: [B, N] bool, the recorded gate of the receiver; given with ``listening``.

    Weights may lie between 0 and 1, too: then the mixed messages lie between those with and without the message.
        links: [B, N, k] int64, the graph's senders.
        coding: [B, N, D] coding error of a codec, which ``spoken`` includes. None without a codec.
        age: [B, N, M] int64, steps since each message was sent, by its envelope; None if none is older than 0.
        receiver: [B, R] int64, the receivers; None for all N agents in order.
        cache: Keeps projections of ``spoken`` from one turn to the next.
        members: The members of a vote, if a defense lets the policy decide by one. None for none.
        received: [R] int64, agents (world * N + agent) whose payloads arrived from other processes and were written
            into ``spoken``. None if all agents decide in this process.

    The inboxes of a subset of receivers (see :meth:`rows`) form one world with all B * N agents.
    """

    spoken: Tensor
    source: Tensor
    mask: Tensor
    links: Tensor
    scale: Tensor | None = None
    delta: Tensor | None = None
    weight: Tensor | None = None
    coding: Tensor | None = None
    age: Tensor | None = None
    receiver: Tensor | None = None
    cache: ProjectionCache | None = None
    closed: Tensor | None = None
    listening: Tensor | None = None
    open: Tensor | None = None
    members: Members | None = None
    received: Tensor | None = None

    @property
    def moved(self) -> Tensor | None:
        """[B, N, M], how far the weight of a link is from what was heard: 0, but for its gradient; None without."""
        if self.weight is None:
            return None
        return torch.where(self.audible, self.weight - self.mask.to(self.weight.dtype), 0.0)

    @property
    def turned(self) -> Tensor | None:
        """[B, N], how far the weight of a gate is from the recorded gate: 0, but for its gradient; None without."""
        if self.listening is None or self.open is None:
            return None
        return self.listening - self.open.to(self.listening.dtype)

    @property
    def audible(self) -> Tensor:
        """[B, N, M] bool, slots whose payload matters: those that were heard, and those that were closed."""
        return self.mask if self.closed is None else self.mask | self.closed

    @property
    def joint(self) -> Tensor:
        """[B, N, M] bool, slots that a receiver hears if its gate is open."""
        if self.closed is None or self.open is None:
            return self.mask
        return self.mask | (self.closed & ~self.open.unsqueeze(-1))

    def mutual(self) -> Tensor:
        """[B, N, M] bool, slots whose sender also listens to the receiver (A_ji)."""
        receiver, (worlds, agents, degree) = self.receiver, self.links.shape
        if (
            receiver is None and self.source.shape[-1] * degree > agents
        ):  # pairs of agents are fewer than pairs of links
            listens = torch.zeros(worlds, agents, agents, dtype=torch.bool, device=self.links.device)
            return listens.scatter_(2, self.links, True).transpose(1, 2).gather(2, self.source)
        if receiver is None:
            receiver = torch.arange(agents, device=self.links.device).unsqueeze(0)
        return (gather_agents(self.links, self.source) == receiver[..., None, None]).any(-1)

    def materialized(self) -> Inbox:
        """The same inbox with the coding error moved into ``delta``, for payloads that are sent one by one."""
        if self.coding is None:
            return self
        coding = gather_agents(self.coding, self.source)
        if self.scale is not None:
            coding = coding * self.scale.unsqueeze(-1)
        delta = coding if self.delta is None else self.delta + coding
        return replace(self, spoken=self.spoken - self.coding, delta=delta, coding=None)

    def of_members(self, members: Members, first: int, last: int) -> Inbox:
        """The inboxes of some members of a vote, one after the other, as of (last - first) * B worlds."""
        chosen = members.heard[first:last]
        count = len(chosen)

        def again(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.repeat(count, *[1] * (x.dim() - 1))

        delta = again(self.delta)
        if members.noise:
            sizes = (count * len(self.mask), *self.mask.shape[1:], self.spoken.shape[-1])
            drawn = members.noise * members.randn(*sizes)
            delta = drawn if delta is None else delta + drawn
        return replace(
            self,
            spoken=self.spoken.repeat(count, 1, 1),
            source=self.source.repeat(count, 1, 1),
            mask=(self.mask & chosen).flatten(0, 1),
            links=self.links.repeat(count, 1, 1),
            scale=again(self.scale),
            delta=delta,
            coding=again(self.coding),
            age=again(self.age),
            members=None,
        )

    def merge(self, later: Inbox, receivers: Tensor) -> Inbox:
        """These inboxes, with those of ``receivers`` [B, N] bool taken from a later exchange of the same payloads."""
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

        def either(early: Tensor | None, late: Tensor | None, missing: float) -> Tensor | None:
            if early is None and late is None:
                return None
            parts = (late, later.mask), (early, self.mask)
            new, old = (torch.full_like(mask, missing) if x is None else x for x, mask in parts)
            return torch.where(where, widen(new), widen(old))

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
            weight=either(self.weight, later.weight, 1.0),
            closed=either(self.closed, later.closed, False),
            age=either(self.age, later.age, 0.0),
        )

    def rows(self, rows: Tensor, cache: ProjectionCache) -> Inbox:
        """The inboxes of receivers ``rows`` ([R] int64, world * N + agent): every tensor becomes [1, R, ...]."""
        worlds, agents = self.source.shape[:2]
        offset = (torch.arange(worlds, device=rows.device) * agents).view(-1, 1, 1)

        def pick(x: Tensor) -> Tensor:
            return x.flatten(0, 1)[rows].unsqueeze(0)

        def pick_if(x: Tensor | None) -> Tensor | None:
            return None if x is None else pick(x)

        return Inbox(
            cache.spoken,
            pick(self.source + offset),
            pick(self.mask),
            (self.links + offset).flatten(0, 1).unsqueeze(0),
            pick_if(self.scale),
            pick_if(self.delta),
            pick_if(self.weight),
            age=pick_if(self.age),
            receiver=rows.unsqueeze(0),
            cache=cache,
            closed=pick_if(self.closed),
            listening=pick_if(self.listening),
            open=pick_if(self.open),
        )

    def payload(self) -> Tensor:
        """Payloads per slot [B, N, M, D]."""
        return self._place(gather_agents(self.spoken, self.source), self.delta)

    def project(self, weight: Tensor, plain: Tensor | None = None) -> Tensor:
        """``payload() @ weight.T`` [B, N, M, out], computed once per sender: W(s m + d) = s W m + W d.

        Args:
            weight: [out, D].
            plain: ``spoken @ weight.T`` [B, N, out], if already computed.
        """
        if plain is None:
            plain = nn.functional.linear(self.spoken, weight) if self.cache is None else self.cache.project(weight)
        image = self._place(gather_agents(plain, self.source), None)
        if self.delta is None:
            return image
        changed = self.delta.abs().amax(-1) != 0
        if self.delta.requires_grad or 2 * int(changed.sum()) > changed.numel():
            return image + nn.functional.linear(self.delta, weight)
        at = changed.nonzero(as_tuple=True)  # only the few changed slots need a product
        return image.index_put(at, nn.functional.linear(self.delta[at], weight), accumulate=True)

    def _place(self, gathered: Tensor, offset: Tensor | None) -> Tensor:
        if self.scale is not None:
            gathered = gathered * self.scale.unsqueeze(-1)
        return gathered if offset is None else gathered + offset
