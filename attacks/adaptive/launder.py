"""launder: send again what was said earlier, as a new message: fresh number and date, all hops left, another sender.

Aimed at defenses that judge a message by its way: ``hop_limit`` and ``taint``. A limit on hops holds only as long as
nobody can start a chain anew, and marks on a message help only as long as they stay on it (cf. "laundering" in
information flow control: Denning, CACM 1976). What the copy says is genuine, but out of date, and out of its place.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.forging import receivers, written
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class LaunderConfig(AttackConfig):
    """Arguments of ``launder``."""

    age: int = Field(2, ge=1, le=64, description="age of what is sent again, in steps")
    reroot: bool = Field(True, description="name another agent as the sender, in whose trace the message begins")


class Launder(Attack[LaunderConfig]):
    """On the path of all links: writes down what it reads, and puts it on the wire as somebody's new message."""

    risks = ("ua.l2.session_manipulation", "aa.l2.responsibility_evasion")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Under another name."""
        return {"": {"age": 1}}

    def threat_model(self) -> ThreatModel:
        """On the path of all links; reads and injects."""
        return ThreatModel(Position(kind="edge"), frozenset({"read", "inject"}), "defense", self.config.budget, "evade")

    def injections(self) -> int:
        """One per link."""
        return self.team_shape.degree

    def memory(self) -> dict[str, Tensor]:
        """The last ``age`` steps of every link, [B, age * rounds, N, k, ..]: ``payload``, ``sender`` and ``held``."""
        s = self.team_shape
        sizes = (s.num_worlds, self.config.age * s.rounds, s.num_agents, s.degree)
        return {
            "payload": torch.zeros(*sizes, s.width, device=s.device),
            "sender": torch.zeros(sizes, dtype=torch.int64, device=s.device),
            "held": torch.zeros(sizes, dtype=torch.bool, device=s.device),
        }

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Send what is old enough, and write down what is said now in its place."""
        s, memory = self.team_shape, view.memory
        worlds = torch.arange(s.num_worlds, device=s.device)
        place = (view.step % self.config.age) * s.rounds + view.round
        old = {name: kept[worlds, place] for name, kept in memory.items()}
        reach = view.reach[..., : s.degree]
        memory["payload"][worlds, place] = view.payload[..., : s.degree, :]
        memory["sender"][worlds, place] = torch.where(reach, view.sender[..., : s.degree], 0)
        memory["held"][worlds, place] = reach
        sender, receiver = old["sender"], receivers(s, s.degree)
        if self.config.reroot:
            sender = (sender + 1) % s.num_agents
            sender = torch.where(sender == receiver, (sender + 1) % s.num_agents, sender)
        where = old["held"] & (sender != receiver)
        return MessageEdits(inject=written(view, s, where, old["payload"], sender))
