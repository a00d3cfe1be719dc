"""Attacks that do a little of everything, and a defense that refuses a little, to see how others take it."""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.contracts.attack import Attack
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView, Ratings, Registrations
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.forging import receivers, written
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.contracts.views import MessageView


class Disturb(Attack):
    """Drops, changes and adds messages."""

    def threat_model(self) -> ThreatModel:
        """On the path, with everything it takes to disturb."""
        return ThreatModel(Position(kind="edge"), frozenset({"read", "drop", "modify", "inject"}))

    def injections(self) -> int:
        """One."""
        return 1

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Drop some messages, change some, add some."""
        s = self.team_shape
        some = view.rand(*view.reach.shape)
        receiver = receivers(s)
        where = view.rand(*receiver.shape) < 0.3
        inject = written(view, s, where, view.randn(*receiver.shape, s.width), (receiver + 1) % s.num_agents)
        change = view.randn(*view.reach.shape, s.width)
        return MessageEdits(view.reach & (some < 0.2), view.reach & (some > 0.6), change, inject=inject)


class DisturbDirectory(Attack):
    """Registers copied and own cards, leaves requests half open and reports false ratings."""

    def threat_model(self) -> ThreatModel:
        """From outside, with everything that outsiders can do."""
        return ThreatModel(Position(kind="newcomer"), frozenset({"read", "register", "inject"}))

    def registrations(self) -> int:
        """Two per step."""
        return 2

    def requests(self) -> int:
        """One per step."""
        return 1

    def ratings(self) -> int:
        """Two per step."""
        return 2

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """A copy of a member's card and a card of its own, one request and two ratings."""
        shape = (self.team_shape.num_worlds, 2)
        device = self.team_shape.device
        yes = torch.ones(shape, dtype=torch.bool, device=device)
        name = torch.tensor([0, view.members], device=device).expand(shape)
        claim = view.rand(*shape, view.skills)
        cards = Registrations(
            where=view.rand(*shape) < 0.3,
            principal=name,
            claim=claim,
            key=name,
            quality=torch.zeros(shape, device=device),
            stalls=~yes,
            scapegoat=torch.zeros_like(name),
        )
        rated = Ratings(where=view.rand(*shape) < 0.5, principal=name, good=name == view.members)
        return DirectoryEdits(register=cards, requests=yes[:, 0].long(), half_open=True, ratings=rated)


class Refuse(Defense):
    """Refuses messages by the sign of a number in them."""

    order = "content"

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """About one in six."""
        return Verdicts(refuse=delivered.present & (delivered.payload[..., 0] > 1))
