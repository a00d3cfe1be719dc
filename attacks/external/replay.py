"""replay: deliver recorded messages, seals included, instead of fresh ones."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import Envelopes, MessageEdits
from agentcomm.contracts.threat_model import Position, Power, ThreatModel
from agentcomm.contracts.views import MessageView

FIELDS = ("sender", "audience", "sequence", "sent_at", "sent_round", "key", "seal")


class ReplayConfig(AttackConfig):
    """Arguments of ``replay``."""

    age: int = Field(4, ge=1, description="age of the delivered copy in steps")
    suppress: bool = Field(True, description="also drop the fresh message")
    probability: float = Field(1.0, ge=0, le=1, description="chance that a copy is sent along with a message in reach")


class Replay(Attack[ReplayConfig]):
    """Records every exchange and sends the copy from ``age`` steps ago on the same link."""

    risks = ("ua.l2.session_manipulation",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Copies in place of fresh messages, or in addition to them."""
        return {"": {"age": 2}, "alongside": {"age": 2, "suppress": False}}

    def threat_model(self) -> ThreatModel:
        """On the path of all links; reads, replays and, to suppress, drops. It cannot forge messages."""
        powers: set[Power] = {"read", "replay"}
        if self.config.suppress:
            powers.add("drop")
        return ThreatModel(Position(kind="edge"), frozenset(powers), "protocol", self.config.budget)

    def injections(self) -> int:
        """One copy per link."""
        return self.team_shape.degree

    def memory(self) -> dict[str, Tensor]:
        """Recording of the last ``age`` steps of every link, [B, age * rounds, N, k] per field, as a ring buffer."""
        s = self.team_shape
        shape = (s.num_worlds, self.config.age * s.rounds, s.num_agents, s.degree)
        fields = {name: torch.full(shape, -1, dtype=torch.int64, device=s.device) for name in FIELDS}
        fields["held"] = torch.zeros(shape, dtype=torch.bool, device=s.device)
        fields["payload"] = torch.zeros((*shape, s.width), device=s.device)
        return fields

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Send the copies that are ``age`` steps old, then overwrite them with the present messages."""
        s, old = self.team_shape, view.memory
        worlds = torch.arange(s.num_worlds, device=s.device)
        place = (view.step % self.config.age) * s.rounds + view.round
        now = {name: getattr(view, name)[..., : s.degree] for name in FIELDS}
        copy: dict[str, Any] = {name: old[name][worlds, place] for name in (*FIELDS, "payload")}
        on_links = view.reach[..., : s.degree]
        where = on_links & old["held"][worlds, place]
        where &= view.rand(*where.shape) < self.config.probability
        # A suppressed message and its copy are paid for together, not all suppressions first.
        price = 2 if self.config.suppress else 1
        paid = where.flatten(1).cumsum(1) * price <= view.remaining.unsqueeze(1)
        where &= paid.view_as(where)
        for name, value in now.items():
            old[name][worlds, place] = value
        old["payload"][worlds, place] = view.payload[..., : s.degree, :]
        old["held"][worlds, place] = on_links
        drop = torch.nn.functional.pad(where, (0, view.reach.shape[-1] - s.degree)) if self.config.suppress else None
        return MessageEdits(drop=drop, inject=Envelopes(where=where, **copy))
