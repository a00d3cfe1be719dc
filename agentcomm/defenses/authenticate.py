"""authenticate: accept a message only if it is the claimed sender's, for me, fresh, and not seen before.

Freshness is an age in steps. Copies are found with a window of sequence numbers per sender that slides with the
highest one (RFC 4303, section 3.4.3; RFC 6347, section 4.1.2.6): delayed and overtaken messages pass once, their
copies do not. The window holds the numbers themselves in a ring instead of bits that have to be shifted (RFC 6479),
and is as long as messages can be fresh, so no honest message is below it.

A window per receiver and sender takes memory that grows with the square of the team. In large teams receivers log what
they accept instead, for as long as it could pass as fresh. A log has ``SHARE`` places per link and exchange, and what
finds none is rejected: messages on links come first, so that what an attack injects cannot push them out.

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

MOST_BY_SENDER = 128  # agents up to which each receiver has a window per sender
SHARE = 2  # messages per link that a receiver can accept in one exchange, in larger teams


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

        ``last`` [B, N, N + 1] int64; ``seen`` [B, N, (N + 1) * W] int64, a ring of W places per sender. In large teams
        by exchange, of L places each: ``sender`` and ``sequence`` [B, N, W, L] int64, and ``at`` [B, N, W] int64, the
        step they were accepted in.
        """
        s = self.team_shape
        if s.num_agents > MOST_BY_SENDER:
            at = torch.full((s.num_worlds, s.num_agents, self.length), -1, dtype=torch.int64, device=s.device)
            empty = at.unsqueeze(3).repeat(1, 1, 1, max(SHARE * s.degree, 1))
            return {"sender": empty, "sequence": empty.clone(), "at": at}
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
        # Within one inbox the same message may lie twice; the first copy counts.
        if "at" in memory:
            good &= ~_logged(d, memory)
            good &= ~repeated(good, d.sender, d.sequence)
            good = _log(d, good, memory, self.team_shape.rounds)
        else:
            good = self._in_window(d, good, memory)
        return Verdicts(refuse=~good, score=(~good).float())

    def _in_window(self, d: Delivered, good: Tensor, memory: dict[str, Tensor]) -> Tensor:
        """[B, N, M] bool, those of the ``good`` messages that are new by their senders' windows, which move on."""
        sender = d.sender.clamp(0, self.team_shape.num_agents)
        place = sender * self.length + d.sequence.remainder(self.length)
        good = good & (d.sequence > memory["last"].gather(2, sender) - self.length)
        good &= d.sequence != memory["seen"].gather(2, place)
        good &= ~repeated(good, d.sender, d.sequence)
        # Only messages that pass all checks move a window: forged numbers cannot lock out the sender they name.
        accepted = torch.where(good, d.sequence, -1)
        memory["last"].scatter_reduce_(2, sender, accepted, "amax")
        memory["seen"].scatter_reduce_(2, place, accepted, "amax")
        return good


def _logged(d: Delivered, memory: dict[str, Tensor]) -> Tensor:
    """[B, N, M] bool, messages that the receiver has accepted before."""
    known, number = (memory[name].flatten(2).unsqueeze(2) for name in ("sender", "sequence"))
    return ((known == d.sender.unsqueeze(3)) & (number == d.sequence.unsqueeze(3))).any(3)


def _log(d: Delivered, good: Tensor, memory: dict[str, Tensor], rounds: int) -> Tensor:
    """Log the ``good`` messages [B, N, M], in the places of those that are stale by now; returns which found one."""
    exchanges, places = memory["sender"].shape[2:]
    turn = ((d.step * max(rounds, 1) + d.round) % exchanges).view(-1, 1, 1).expand(*good.shape[:2], 1)
    step = d.step.view(-1, 1, 1)
    page = turn.unsqueeze(3).expand(-1, -1, 1, places)
    sender, sequence = (memory[name].gather(2, page).squeeze(2) for name in ("sender", "sequence"))
    # Agents that act in turns have several exchanges per round.
    same = memory["at"].gather(2, turn) == step
    sender, sequence = (torch.where(same, part, -1) for part in (sender, sequence))
    place = (sender >= 0).sum(2, keepdim=True) + good.cumsum(2) - 1
    good = good & (place < places)
    index = torch.where(good, place, places)  # the last place is cut off
    for name, part, value in (("sender", sender, d.sender), ("sequence", sequence, d.sequence)):
        written = torch.nn.functional.pad(part, (0, 1)).scatter(2, index, value)[..., :places]
        memory[name].scatter_(2, page, written.unsqueeze(2))
    memory["at"].scatter_(2, turn, step.expand_as(turn))
    return good
