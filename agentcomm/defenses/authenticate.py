"""authenticate: accept a message only if it is the claimed sender's, for me, and new.

Answers tampering, impersonation and replay. What it turns away is lost, so tampering becomes loss: the
team must be able to bear that. A compromised agent holds its own key and passes.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.verdicts import Delivered, Verdicts


class AuthenticateConfig(DefenseConfig):
    """Arguments of ``authenticate``."""

    window: int = Field(1, ge=0, description="oldest age in steps that still counts as fresh")


class Authenticate(Defense[AuthenticateConfig]):
    """Checks the seal, then the audience, then freshness; remembers the last sequence number per sender."""

    order = "authenticate"
    adaptive = ("sleeper", "late")
    needs_seal = True
    history = None
    fails_open = False

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Strict about freshness, and patient."""
        return {"": {}, "patient": {"window": 16}}

    def memory(self) -> dict[str, Tensor]:
        """``last``: [B, N receivers, N + 1 senders] highest sequence number accepted so far."""
        s = self.team_shape
        shape = (s.num_worlds, s.num_agents, s.num_agents + 1)
        return {"last": torch.full(shape, -1, dtype=torch.int64, device=s.device)}

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Refuse what fails any of the three checks; its score is 1, that of all others 0."""
        d = delivered
        good = d.present & d.sealed_by_sender & (d.audience == d.receiver)
        sender = d.sender.clamp(0, self.team_shape.num_agents)
        good &= d.sequence > memory["last"].gather(2, sender)
        age = d.step.view(-1, 1, 1) - d.sent_at
        # A message of another round is a valid one, held back: it would be read as what it is not.
        good &= (age >= 0) & (age <= self.config.window) & (d.sent_round == d.round)
        good &= d.step.view(-1, 1, 1) <= d.expiry
        # Within one inbox the same message may lie twice; the first copy counts.
        twice = d.sender.unsqueeze(-1) == d.sender.unsqueeze(-2)
        twice &= d.sequence.unsqueeze(-1) == d.sequence.unsqueeze(-2)
        good &= ~(twice & good.unsqueeze(-2)).tril(-1).any(-1)
        accepted = torch.where(good, d.sequence, -1)
        memory["last"].scatter_reduce_(2, sender, accepted, "amax")
        return Verdicts(refuse=~good, score=(~good).float())
