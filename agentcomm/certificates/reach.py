"""Reach of an attack: whose actions an attacker on some links or nodes can change, given what a clean episode recorded.

The attacker may change, hold back or replace whatever is sent on its links, in any way and knowing everything; one on a
node also acts for it. Where it can, a message that the clean team did not send may be injected as well (``injects``).
What it cannot touch in a step stays bit for bit as in the clean episode, so the graph and the gates that were recorded
hold until its first effect, which then spreads:

- within a step over the rounds of messages: whoever hears an affected agent in a later round is affected; where agents
  act in turns, over the order of the last round as well;
- into the next step, if an affected agent's action changes what others observe, to everybody; in an environment whose
  observations do not depend on actions, only through what agents remember of messages. What an affected agent remembers
  may open its gate or change a dynamic graph, so its recorded gates no longer hold.

An agent that is not affected in a step provably takes the action of the clean episode. The analysis follows
dependencies, not magnitudes: an affected agent need not act differently. The reach of several links or nodes is the
union of their reaches. It covers attacks on messages (and actions of nodes), not on sensors or on a directory.

Shapes: B episodes, T steps, R rounds, N agents, k links per receiver, L links or nodes of the attacker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import torch
from torch import Tensor

LARGEST = 20_000  # sets of links that are enumerated

Link = tuple[int, int]  # sender, receiver
Strikes = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Recorded:
    """What clean episodes recorded, and how effects spread in them.

    Attributes:
        source: [B, T, N, k] int64, the senders of each receiver's links.
        sent: [B, T, R, N, k] bool, links on which a message was sent.
        listening: [B, T, N] bool, receivers that accept messages.
        running: [B, T] bool, steps before the episode ended.
        couples: Whether what agents observe depends on earlier actions.
        remembers: Whether agents, or their codec or defenses, remember messages of earlier steps.
        dynamic: Whether the graph of a step depends on what agents remember.
        in_turns: Whether agents act in turns in the last round, each hearing those before it.
    """

    source: Tensor
    sent: Tensor
    listening: Tensor
    running: Tensor
    couples: bool = True
    remembers: bool = False
    dynamic: bool = False
    in_turns: bool = False

    def links(self) -> list[Link]:
        """All links (sender, receiver) that were in the graph in some step."""
        agents = self.source.shape[2]
        used = torch.zeros(agents, agents, dtype=torch.bool, device=self.source.device)
        receiver = torch.arange(agents, device=self.source.device).view(1, 1, -1, 1).expand_as(self.source)
        kept = self.running[..., None, None].expand_as(self.source)
        used[self.source[kept], receiver[kept]] = True
        return [(int(sender), int(heard)) for sender, heard in used.nonzero()]


def reach_of_links(recorded: Recorded, links: Sequence[Link], injects: bool = False) -> Tensor:
    """[B, L, T, N] bool, agents that an attacker on each single link can affect, by step.

    Args:
        recorded: Clean episodes.
        links: (sender, receiver) of each link.
        injects: Whether it may also send on its link when the sender does not.
    """
    device, count = recorded.source.device, len(links)
    sender, receiver = torch.tensor(list(links), dtype=torch.int64, device=device).view(count, 2).unbind(1)
    agents = recorded.source.shape[2]
    place = torch.zeros(count, agents, dtype=torch.bool, device=device)
    place[torch.arange(count, device=device), receiver] = True
    used = torch.zeros(len(recorded.source), count, dtype=torch.bool, device=device)

    def strikes(step: int, hears: Tensor) -> Tensor:
        """[B, L, N] bool, agents that hear the attacker itself in a round, in which they hear ``hears`` [B, N, N]."""
        now = hears[:, receiver, sender]
        listening = recorded.listening[:, step, receiver]
        # What has been held back may arrive later, when nothing is sent on the link.
        able = now | (listening if injects else used & listening)
        used.logical_or_(now)
        return able.unsqueeze(-1) & place

    return _spread(recorded, count, strikes, None)


def reach_of_nodes(recorded: Recorded, nodes: Sequence[int]) -> Tensor:
    """[B, L, T, N] bool, agents that an attacker on each single node can affect, by step; the node is one of them."""
    device, agents = recorded.source.device, recorded.source.shape[2]
    place = torch.zeros(len(nodes), agents, dtype=torch.bool, device=device)
    place[torch.arange(len(nodes)), torch.tensor(list(nodes), device=device)] = True
    return _spread(recorded, len(nodes), None, place)


def _spread(recorded: Recorded, count: int, strikes: Strikes | None, owned: Tensor | None) -> Tensor:
    """Follow the effects step by step; ``strikes`` of links, or ``owned`` [L, N] agents of nodes."""
    worlds, steps, agents, _ = recorded.source.shape
    sizes, device = (worlds, count, agents), recorded.source.device
    carried = torch.zeros(sizes, dtype=torch.bool, device=device)
    out = torch.zeros(worlds, count, steps, agents, dtype=torch.bool, device=device)
    for step in range(steps):
        affected = _step(recorded, step, carried, strikes, owned)
        out[:, :, step] = affected & recorded.running[:, step].view(-1, 1, 1)
        affected = out[:, :, step]
        if recorded.couples:
            carried = carried | affected.any(-1, keepdim=True)
        elif recorded.remembers:
            carried = carried | affected
    return out


def _step(recorded: Recorded, step: int, carried: Tensor, strikes: Strikes | None, owned: Tensor | None) -> Tensor:
    """[B, L, N] bool, agents that are affected when they act, given those affected before any message."""
    rounds = recorded.sent.shape[2]
    affected = carried
    if recorded.dynamic:
        affected = affected | carried.any(-1, keepdim=True)
    if owned is not None:
        affected = affected | owned
    # The gate of an agent that was affected before may be open although it was closed in the clean episode.
    listening = recorded.listening[:, step].unsqueeze(-1).expand_as(recorded.source[:, step])
    uncertain = _told(_pairs(recorded.source[:, step], listening), affected)
    for round_ in range(rounds):
        hears = _pairs(recorded.source[:, step], recorded.sent[:, step, round_])
        turns = recorded.in_turns and round_ == rounds - 1
        if turns:
            hears = hears.tril(-1)  # only senders before the receiver are heard
        direct = torch.zeros_like(affected) if strikes is None else strikes(step, hears)
        affected = affected | uncertain | direct | _told(hears, affected)
        for _ in range(affected.shape[-1] if turns else 0):
            affected = affected | _told(hears, affected)
    return affected


def _pairs(source: Tensor, where: Tensor) -> Tensor:
    """[B, N, N] bool, whether receiver i hears sender j on one of the links ``where`` [B, N, k] bool."""
    worlds, agents, _ = source.shape
    found = torch.zeros(worlds, agents, agents, dtype=torch.int64, device=source.device)
    result: Tensor = found.scatter_add_(2, source, where.long()) > 0
    return result


def _told(hears: Tensor, affected: Tensor) -> Tensor:
    """[B, L, N] bool, agents that hear an affected one ([B, L, N]); ``hears`` [B, N, N] by receiver and sender."""
    told: Tensor = (affected.float() @ hears.float().transpose(1, 2)) > 0
    return told


def steps_unchanged(reach: Tensor, running: Tensor) -> Tensor:
    """[B, L, N] int64, steps from the start of an episode for which each agent's action is provably unchanged.

    Args:
        reach: [B, L, T, N] bool, from :func:`reach_of_links` or :func:`reach_of_nodes`.
        running: [B, T] bool.
    """
    safe = ~reach & running[:, None, :, None]
    return safe.long().cumprod(2).sum(2)


@dataclass(frozen=True)
class Worst:
    """The worst attacker on C links or nodes of some, the same in all episodes.

    Attributes:
        decisions: Decisions of all agents in all episodes.
        certified: Those that it provably cannot change: exact if ``exact``, otherwise a lower bound.
        exact: Whether all sets were enumerated.
        chosen: Indices of the set; of one of the worst found if not ``exact``.
        at_once: Most agents that any set affects in the step in which it first has an effect; an upper bound if not
            ``exact``.
    """

    decisions: int
    certified: int
    exact: bool
    chosen: tuple[int, ...]
    at_once: int


def worst(reach: Tensor, running: Tensor, count: int) -> Worst:
    """The attacker on ``count`` of the L links or nodes that leaves the fewest decisions certified.

    With more than 20,000 sets, a bound: no set affects more than all links together, nor more decisions of a step than
    the ``count`` links that affect most there.

    Args:
        reach: [B, L, T, N] bool.
        running: [B, T] bool.
        count: C, at most L.
    """
    total, agents = int(running.sum()) * reach.shape[-1], reach.shape[-1]
    sets = comb(reach.shape[1], count)
    if not reach.shape[1] or not count:
        return Worst(total, total, True, (), 0)
    if sets <= LARGEST:
        affected, at_once, chosen = -1, 0, ()
        for group in _groups(reach.shape[1], count):
            union = reach[:, group].any(2)  # [B, G, T, N]
            number = union.sum((0, 2, 3))
            at_once = max(at_once, int(_first_step(union).max()))
            most = int(number.argmax())
            if int(number[most]) > affected:
                affected, chosen = int(number[most]), tuple(group[most].tolist())
        return Worst(total, total - affected, True, chosen, at_once)
    single = reach.sum(-1)  # [B, L, T]
    bound = torch.minimum(single.topk(count, 1).values.sum(1), reach.any(1).sum(-1))
    widest = min(agents, int(_first_step(reach).topk(count, 1).values.sum(1).max()))
    greedy = tuple(single.sum((0, 2)).topk(count).indices.tolist())
    return Worst(total, total - int(bound.sum()), False, greedy, widest)


def _groups(number: int, count: int, together: int = 256) -> Iterator[Tensor]:
    """All sets of ``count`` of ``number``, some at a time: [G, count] int64."""
    every = torch.tensor(list(combinations(range(number), count)), dtype=torch.int64)
    for first in range(0, len(every), together):
        yield every[first : first + together]


def _first_step(reach: Tensor) -> Tensor:
    """[B, L] int64, agents that are affected in the first step with an effect; 0 without any."""
    any_ = reach.any(-1)
    first = any_.long().argmax(-1)
    number: Tensor = reach.sum(-1).gather(2, first.unsqueeze(-1)).squeeze(-1)
    return number
