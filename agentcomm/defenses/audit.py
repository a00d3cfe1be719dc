"""audit: every receiver keeps a hash-linked log of what it accepted, and names the accountable sender of each message.

The accountable sender is the owner of the key that has sealed the message, whatever name it claims; if no key has
sealed it as it is, no member has written it so, and the path is accountable. An agent that uses others' names
(``evade``) is named all the same. :class:`agentcomm.evaluation.attribution.Auditor` compares these names
with the truth.

A log is a chain: each entry, the messages of one exchange, is hashed with the head before it (Schneier and Kelsey,
USENIX Security 1998), so none can be removed or changed without changing all heads after it. Messages carry their
sender's head, which receivers log (PeerReview; Haeberlen et al., SOSP 2007): who rewrites its log contradicts the
heads that others hold. Every receiver is one hop of what is passed on, so content can be followed back from log to
log.

It refuses nothing: deploy ``authenticate`` for that. It cannot stop a stolen or shared key, whose owner is named; an
insider that leaves out its seal, which looks like a fault of the path; and if all that have witnessed a head collude
with the one that rewrites its log, no other log contradicts it. The log holds an entry per exchange, here the last
``entries``, of 32 bytes of hash and 12 bytes per message; messages carry 36 bytes more.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.wire.keyring import mix

HEAD_BYTES = 32 + 4  # a SHA-256 hash, and the number of the entry
SEED = 20071014


def extend(head: Tensor, entry: Tensor) -> Tensor:
    """The heads of chains after an entry, each [...] int64; a stand-in for SHA-256 like the seals of the batch."""
    return mix(head * 3 + mix(entry))


def first_broken(heads: Tensor, entries: Tensor) -> Tensor:
    """[...] int64, the first of E entries that does not fit the heads around it; E if the chain holds.

    Args:
        heads: [..., E + 1] int64, the head before the first entry and after each.
        entries: [..., E] int64.
    """
    wrong = extend(heads[..., :-1], entries) != heads[..., 1:]
    number = torch.arange(entries.shape[-1], device=entries.device)
    return torch.where(wrong, number, entries.shape[-1]).amin(-1)


class AuditConfig(DefenseConfig):
    """Arguments of ``audit``."""

    entries: int = Field(32, ge=1, le=4096, description="exchanges that a log holds; older entries are handed over")


class Audit(Defense[AuditConfig]):
    """Logs accepted messages, and says whose they are."""

    order = "audit"
    answers = ("aa.l2.behavior_auditing_and_responsibility_tracing", "aa.l2.causal_tracing_and_localization")
    adaptive = ("evade", "collude")
    needs_seal = True
    refuses = False
    history = None

    def __init__(self, config: AuditConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        generator = torch.Generator().manual_seed(SEED)
        odd = torch.randint(-(2**62), 2**62, (team_shape.width + 8,), generator=generator) | 1
        self._payload, self._fields = odd[8:].to(team_shape.device), odd[:8].to(team_shape.device)

    @property
    def message_bytes(self) -> int:
        """The head of the sender's log."""
        return HEAD_BYTES

    def memory(self) -> dict[str, Tensor]:
        """The logs, newest entry last, and the heads that agents have witnessed.

        ``heads`` [B, N, E + 1], ``entries`` [B, N, E] and ``witnessed`` [B, N, N + 1], by receiver and sender, int64.
        """
        s, kept = self.team_shape, self.config.entries
        sizes = (s.num_worlds, s.num_agents)
        empty = torch.zeros(*sizes, kept + 1, dtype=torch.int64, device=s.device)
        for at in range(kept):
            empty[..., at + 1] = extend(empty[..., at], torch.zeros_like(empty[..., at]))
        return {
            "heads": empty,
            "entries": torch.zeros(*sizes, kept, dtype=torch.int64, device=s.device),
            "witnessed": torch.zeros(*sizes, s.num_agents + 1, dtype=torch.int64, device=s.device),
        }

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Log the messages that have come so far, and name who has sealed each; no message is refused."""
        d, agents = delivered, self.team_shape.num_agents
        heads, entries, witnessed = (memory[name] for name in ("heads", "entries", "witnessed"))
        sender = d.sender.clamp(0, agents)
        theirs = torch.nn.functional.pad(heads[..., -1], (0, 1))  # an outsider has no log
        carried = theirs.unsqueeze(1).expand(-1, d.sender.shape[1], -1).gather(2, sender)
        said = (d.payload.float() + 0.0).contiguous().view(torch.int32).to(torch.int64)
        body = (said * self._payload).sum(-1)  # a multilinear hash, cheaper than one hash per number
        fields = (d.sender, d.audience, d.sequence, d.sent_at, d.sent_round, d.sealed_by, d.link, carried)
        for field, factor in zip(fields, self._fields, strict=True):
            body = body + field * factor
        entry = mix(body).masked_fill(~d.present, 0).sum(-1)
        witnessed.copy_(_latest(witnessed, sender, carried, d.present))
        heads.copy_(torch.cat([heads[..., 1:], extend(heads[..., -1], entry).unsqueeze(-1)], -1))
        entries.copy_(torch.cat([entries[..., 1:], entry.unsqueeze(-1)], -1))
        return Verdicts(answerable=torch.where(d.sealed_by >= 0, d.sealed_by, agents))


def _latest(witnessed: Tensor, sender: Tensor, carried: Tensor, present: Tensor) -> Tensor:
    """The heads that receivers have witnessed [B, N, N + 1], after those that messages have ``carried`` [B, N, M]."""
    wide = torch.nn.functional.pad(witnessed, (0, 1))
    spare = torch.full_like(sender, witnessed.shape[-1])  # a place for empty slots
    return wide.scatter(2, torch.where(present, sender, spare), carried)[..., :-1]
