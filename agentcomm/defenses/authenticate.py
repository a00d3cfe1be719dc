"""authenticate: accept a message only if it is the claimed sender's, for me, fresh, and not seen before.

Freshness is an age in steps. Copies are found with a window of sequence numbers per sender that slides with the
highest one (RFC 4303, section 3.4.3; RFC 6347, section 4.1.2.6): delayed and overtaken messages pass once, their
copies do not. The window holds the numbers themselves in a ring instead of bits that have to be shifted (RFC 6479),
and is as long as messages can be fresh, so no honest message is below it.

Answers tampering, impersonation and replay. What it rejects is lost, so tampering becomes loss: the team must be able
to bear that. It cannot stop a compromised agent, which holds its own key; an attacker on the path that holds a message
back and lets it through within ``window`` steps, which no receiver can tell from a slow channel; or whoever has stolen
a key.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.base.masks import repeated
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.verdicts import Delivered, Verdicts


class AuthenticateConfig(DefenseConfig):
    """Arguments of ``authenticate``."""

    window: int = Field(
        1, ge=0, le=64, description="oldest age in steps that still counts as fresh; the longest delay of the channels"
    )


class Authenticate(Defense[AuthenticateConfig]):
    """Checks seal, audience and freshness, then looks the sequence number up in the sender's window."""

    version = "2"
    order = "authenticate"
    answers = (
        "ua.l1.integrity_authentication",
        "ua.l2.identity_authentication",
        "ua.l2.session_status_verification",
        "aa.l3.semantic_integrity",
    )
    adaptive = ("sleeper", "late")
    needs_seal = True
    history = None
    fails_open = False

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Strict about freshness, and patient."""
        return {"": {}, "patient": {"window": 16}}

    @property
    def length(self) -> int:
        """Sequence numbers in a window: those of all messages that can be fresh."""
        return (self.config.window + 1) * max(self.team_shape.rounds, 1)

    def memory(self) -> dict[str, Tensor]:
        """By receiver and sender, of accepted messages: the highest sequence number, and all within the window.

        ``last`` [B, N, N + 1] int64; ``seen`` [B, N, (N + 1) * W] int64, a ring of W places per sender.
        """
        s = self.team_shape
        shape = (s.num_worlds, s.num_agents, s.num_agents + 1)
        last = torch.full(shape, -1, dtype=torch.int64, device=s.device)
        return {"last": last, "seen": last.repeat_interleave(self.length, 2)}

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Refuse what fails any of the checks; its score is 1, that of all others 0."""
        d, now = delivered, delivered.step.view(-1, 1, 1)
        good = d.present & d.sealed_by_sender & (d.audience == d.receiver)
        age = now - d.sent_at
        # A message of another round is a valid one, held back: it would be read as what it is not.
        good &= (age >= 0) & (age <= self.config.window) & (d.sent_round == d.round) & (now <= d.expiry)
        sender = d.sender.clamp(0, self.team_shape.num_agents)
        place = sender * self.length + d.sequence.remainder(self.length)
        good &= d.sequence > memory["last"].gather(2, sender) - self.length
        good &= d.sequence != memory["seen"].gather(2, place)
        # Within one inbox the same message may lie twice; the first copy counts.
        good &= ~repeated(good, d.sender, d.sequence)
        # Only messages that pass all checks move a window: forged numbers cannot lock out the sender they name.
        accepted = torch.where(good, d.sequence, -1)
        memory["last"].scatter_reduce_(2, sender, accepted, "amax")
        memory["seen"].scatter_reduce_(2, place, accepted, "amax")
        return Verdicts(refuse=~good, score=(~good).float())
