"""What tests of the guard share: a small team in a ring, one exchange, attacked and clean."""

from __future__ import annotations

import torch
from builders import Attacked, Scripted, comms, defense, forge, team_shape

from agentcomm.conformance.conversations import Exchange
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.threat_model import Position
from agentcomm.contracts.traffic import Links
from agentcomm.contracts.views import MessageView

S = team_shape()
EDGE = Position(kind="edge")
NEWCOMER = Position(kind="newcomer")
HEADER = ("sender", "audience", "sequence", "sent_at", "sent_round", "key", "seal")
MASKS = (S.num_worlds, S.num_agents, S.degree + 1)


def ring(step: int = 0, kind: int = 0, seed: int = 0) -> Exchange:
    """Everybody hears its two right-hand neighbors."""
    g = torch.Generator().manual_seed(100 * seed + 2 * step + kind)
    source = (torch.arange(4).view(-1, 1) + torch.tensor([1, 2])) % 4
    links = Links(source.expand(S.num_worlds, -1, -1), torch.ones(S.num_worlds, 4, dtype=torch.bool))
    spoken = torch.nn.functional.layer_norm(torch.randn(S.num_worlds, 4, S.width, generator=g), (S.width,))
    return Exchange(spoken, links, torch.full((S.num_worlds,), step), kind, torch.zeros(0, dtype=torch.int64))


def attacked(attack: Scripted, e: Exchange | None = None, seals: bool = False) -> tuple[Attacked, Inbox]:
    e = ring() if e is None else e
    network = comms(S, [attack], [defense("authenticate", S)] if seals else [])
    return network, network.exchange(e.spoken, e.links, e.step, e.round)


def clean(e: Exchange | None = None) -> Inbox:
    e = ring() if e is None else e
    return comms(S).exchange(e.spoken, e.links, e.step, e.round)


def everything(view: MessageView) -> MessageEdits:
    every = torch.ones_like(view.reach)
    return MessageEdits(
        drop=every & (torch.arange(every.shape[-1]) == 0),
        modify=every,
        change=torch.ones(*every.shape, S.width),
        inject=forge(view, S),
    )
