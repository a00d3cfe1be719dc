"""Random conversations, to check attacks, defenses and channels with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from agentcomm.base.state import DrawingMemory
from agentcomm.conformance.common import require
from agentcomm.contracts.continuous import Continuous
from agentcomm.contracts.discrete import Discrete, MultiDiscrete
from agentcomm.contracts.examples import Examples
from agentcomm.contracts.inbox import Inbox, gather_agents
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.traffic import Links
from agentcomm.step.comms import Comms

# An action space of each kind; the first is that of teams whose actions do not matter.
SPACES = (
    Discrete(("a", "b", "c", "d", "e")),
    MultiDiscrete((3, 2)),
    Continuous((-1.0, -2.0), (1.0, 2.0)),
)


def make_team_shape(num_agents: int, degree: int, width: int = 8) -> TeamShape:
    """The shape of a team in three worlds with two rounds per step."""
    return TeamShape(3, num_agents, min(degree, num_agents - 1), width, 2, torch.device("cpu"), SPACES[0])


@dataclass(frozen=True)
class Exchange:
    """One exchange, and the worlds ([W] indices) whose episode ends after it."""

    spoken: Tensor
    links: Links
    step: Tensor
    round: int
    ended: Tensor


def conversation(
    s: TeamShape, num_steps: int, seed: int = 0, closed: float = 0.2, ends: float = 0.15
) -> list[Exchange]:
    """Random payloads on random links; gates close and episodes end at random, independently in each world."""
    g = torch.Generator().manual_seed(seed)
    at, out = torch.zeros(s.num_worlds, dtype=torch.int64), []
    for _ in range(num_steps):
        keys = torch.rand(s.num_worlds, s.num_agents, s.num_agents, generator=g)
        keys.diagonal(dim1=1, dim2=2).fill_(-1)
        open_ = torch.rand(s.num_worlds, s.num_agents, generator=g) >= closed
        links = Links(keys.topk(s.degree, -1).indices.sort(-1).values, open_)
        done = (torch.rand(s.num_worlds, generator=g) < ends).nonzero().squeeze(-1)
        for round_ in range(s.rounds):
            spoken = torch.randn(s.num_worlds, s.num_agents, s.width, generator=g)
            spoken = torch.nn.functional.layer_norm(spoken, (s.width,))
            out.append(Exchange(spoken, links, at.clone(), round_, done if round_ == s.rounds - 1 else done[:0]))
        at = at + 1
        at[done] = 0
    return out


def reader(inbox: Inbox) -> Tensor:
    """A stand-in for a policy: logits [B, N, 3] of three actions, given the inboxes."""
    heard = (inbox.payload() * inbox.mask.unsqueeze(-1)).sum(2)
    return heard @ torch.cos(torch.arange(3.0 * heard.shape[-1])).view(-1, 3)


def carry(comms: Comms, exchanges: Sequence[Exchange], changed: int | None = None) -> list[Inbox]:
    """Run the exchanges; returns the inboxes of each. World ``changed`` sends other payloads on other links."""
    out = []
    for e in exchanges:
        spoken, links = e.spoken, e.links
        if changed is not None:
            spoken, links = spoken.clone(), links._replace(open=links.open.clone())
            spoken[changed] = spoken[changed].flip(0)
            links.open[changed] ^= True
        out.append(comms.network.exchange(spoken, links, e.step, e.round, reader))
        if len(e.ended):
            comms.reset(e.ended)
    return out


def heard(inbox: Inbox) -> Tensor:
    """Accepted payloads [B, N, M, D], zero elsewhere."""
    return inbox.payload().masked_fill(~inbox.mask.unsqueeze(-1), 0.0)


def same_heard(first: Sequence[Inbox], second: Sequence[Inbox], worlds: Sequence[int] | None = None) -> bool:
    """Whether two runs delivered the same messages, bit for bit, in some worlds or all; unused slots do not count."""
    chosen = slice(None) if worlds is None else list(worlds)

    def same(a: Inbox, b: Inbox) -> bool:
        slots = max(a.mask.shape[2], b.mask.shape[2])
        pairs = ((heard(a), heard(b)), (a.mask.unsqueeze(-1), b.mask.unsqueeze(-1)))
        padded = ([pad(x, (0, 0, 0, slots - x.shape[2]))[chosen] for x in pair] for pair in pairs)
        return all(torch.equal(x, y) for x, y in padded)

    return all(same(a, b) for a, b in zip(first, second, strict=True))


def check_state(build: Callable[[], Comms], exchanges: list[Exchange], quick: bool = False) -> None:
    """Check that runs are reproducible, can be saved and restored, and that worlds are independent and reset fully.

    Args:
        build: Creates the message layer.
        exchanges: What to carry.
        quick: Whether to check only that runs are reproducible.
    """
    ambient = torch.get_rng_state()
    half = len(exchanges) // 2 + 1  # between two rounds of a step
    first, used, new = build(), build(), build()
    whole = carry(first, exchanges[:half])
    saved = first.snapshot()
    whole += carry(first, exchanges[half:])
    require(torch.equal(ambient, torch.get_rng_state()), "randomness is drawn from torch's global generator")
    again = same_heard(whole, carry(used, exchanges))
    require(again, "the same seed and messages give different results")
    if quick:
        return
    second = build()
    second.restore(saved)
    resumed = same_heard(whole[half:], carry(second, exchanges[half:]))
    require(resumed, "a restored run differs: some state is kept outside memory")
    others = list(range(1, first.network.team_shape.num_worlds))
    apart = same_heard(whole, carry(build(), exchanges, changed=0), others)
    require(apart, "worlds are not independent of each other")
    used.reset(torch.arange(used.network.team_shape.num_worlds))
    rewind(used, new)
    require(same_heard(whole, carry(used, exchanges)), "state of an episode affects the next one")


def rewind(used: Comms, new: Comms) -> None:
    """Set all random generators of a message layer to those of a new one."""
    for old, fresh in zip(used.adversary.guards, new.adversary.guards, strict=True):
        old.generator.set_state(fresh.generator.get_state())
    for kept, made in zip(used.network.memories, new.network.memories, strict=True):
        if isinstance(kept, DrawingMemory) and isinstance(made, DrawingMemory):
            kept.generator.set_state(made.generator.get_state())
    old_link, new_link = used.network.link, new.network.link
    if old_link is not None and new_link is not None:
        old_link.generator.set_state(new_link.generator.get_state())


def clean_examples(s: TeamShape, episodes: int, num_steps: int = 6) -> Examples:
    """Random conversations of a team as examples for a calibration, which are read by :func:`reader`."""
    s = replace(s, num_worlds=episodes, device=torch.device("cpu"))
    exchanges = conversation(s, num_steps, seed=11, ends=0.0)
    present = torch.cat([e.links.present for e in exchanges])
    payload = torch.cat([gather_agents(e.spoken, e.links.source) for e in exchanges])
    rounds = torch.tensor([e.round for e in exchanges])

    def predict(rows: Tensor, changed: Tensor) -> Tensor:
        heard = (changed * present[rows].unsqueeze(-1)).sum(2)
        return heard @ torch.cos(torch.arange(3.0 * s.width)).view(-1, 3)

    return Examples(
        payload=payload.masked_fill(~present.unsqueeze(-1), 0.0),
        present=present,
        sender=torch.cat([e.links.source for e in exchanges]),
        own=torch.cat([e.spoken for e in exchanges]),
        step=torch.cat([e.step for e in exchanges]),
        round=rounds.repeat_interleave(episodes),
        episode=torch.arange(episodes).repeat(len(exchanges)),
        generator=torch.Generator().manual_seed(0),
        index=torch.arange(len(payload)),
        predict=predict,
    )
