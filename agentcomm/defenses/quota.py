"""quota: token buckets per principal in front of a bounded inbox that all principals share fairly.

Each receiver keeps a token bucket per principal, which fills at ``rate`` and holds at most ``burst`` tokens; a message
costs one (RFC 2697 in its simplest form). Messages that can pay share the inbox of ``depth`` places in rounds: every
principal's first message goes before anybody's second (fair queueing of messages of one size, for which deficit round
robin is round robin; Shreedhar and Varghese, SIGCOMM 1995). Which principal is served first turns from exchange to
exchange, so that no principal is starved where there are more principals than places.

A principal is an authenticated name, or the link that messages come in by. Names that nothing authenticates are
worthless: an attacker would empty the buckets of those that it names.

It cannot stop a principal that stays within its rate, nor many principals with valid names (a Sybil attack multiplies
the quota), nor what a flood does to the wire before it reaches the inbox, such as the queue of a slow channel. By
link, messages that come in by no link of the graph share one bucket; those that an attacker puts on an honest agent's
own link would share its bucket, and are counted there only as far as they are not told apart.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, IdentityConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.verdicts import Delivered, Verdicts


class QuotaConfig(IdentityConfig):
    """Arguments of ``quota``."""

    rate: float = Field(1.0, gt=0, le=64, description="messages per exchange that a principal may send to a receiver")
    burst: float = Field(2.0, ge=1, le=1024, description="messages that it may send at once after it has been silent")
    depth: int | None = Field(
        None, ge=1, description="messages that an inbox takes per exchange; when not given, one per link and one more"
    )
    by: Literal["sender", "link"] = Field("sender", description="what a principal is: an authenticated name, or a link")


class Quota(Defense[QuotaConfig]):
    """Refuses what exceeds a principal's rate, and then what does not fit its share of the inbox."""

    order = "quota"
    answers = ("ua.l1.dos_mitigation", "aa.l2.dos_defense")
    adaptive = ("trickle",)
    needs_identity = True
    history = None
    fails_open = False

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """By name, and by link in a small inbox."""
        return {"": {"unauthenticated": True}, "by link": {"by": "link", "depth": 4}}

    def unmet(self, deployment: Deployment) -> str | None:
        """The places of an inbox must cover the links, or honest messages would not fit."""
        if self.config.depth is not None and self.config.depth < self.team_shape.degree:
            few = f"depth={self.config.depth} is less than the {self.team_shape.degree} links of an inbox"
            return f"{few}, so messages of honest senders would not fit"
        return super().unmet(deployment)

    def _unidentified(self, deployment: Deployment) -> str | None:
        """Links are known without any names."""
        return None if self.config.by == "link" else super()._unidentified(deployment)

    def memory(self) -> dict[str, Tensor]:
        """``tokens`` [B, N, N + 1] float64 by receiver and principal; ``filled`` [B] int64, the last refill.

        The last principal stands for all outsiders, or for messages that come in by no link.
        """
        s = self.team_shape
        shape = (s.num_worlds, s.num_agents, s.num_agents + 1)
        return {
            "tokens": torch.full(shape, self.config.burst, dtype=torch.float64, device=s.device),
            "filled": torch.zeros(s.num_worlds, dtype=torch.int64, device=s.device),
        }

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Refuse what cannot pay or finds no place; the score is the number of a principal's messages before it."""
        d, agents, tokens = delivered, self.team_shape.num_agents, memory["tokens"]
        now = d.step * max(self.team_shape.rounds, 1) + d.round
        passed = (now - memory["filled"]).view(-1, 1, 1)
        tokens.add_(self.config.rate * passed).clamp_(max=self.config.burst)
        memory["filled"].copy_(now)
        who = (d.sender if self.config.by == "sender" else d.link).clamp(0, agents)
        same = (who.unsqueeze(-1) == who.unsqueeze(-2)) & d.present.unsqueeze(-2)
        before = same.tril(-1).sum(-1)
        good = d.present & (before + 1 <= tokens.gather(2, who) + 1e-9)
        good &= self._served(good, before, (who + now.view(-1, 1, 1)) % (agents + 1))
        tokens.scatter_add_(2, who, -good.double())
        return Verdicts(refuse=d.present & ~good, score=before.float().masked_fill(~d.present, 0.0))

    def _served(self, paid: Tensor, before: Tensor, turn: Tensor) -> Tensor:
        """[B, N, M] bool, messages that get a place, round by round.

        Args:
            paid: [B, N, M] bool, messages that compete for the places.
            before: [B, N, M] int64, messages of the same principal ahead of each.
            turn: [B, N, M] int64, place of its principal within a round.
        """
        depth = self.team_shape.degree + 1 if self.config.depth is None else self.config.depth
        if paid.shape[-1] <= depth:
            return paid
        rank = (before * (self.team_shape.num_agents + 1) + turn).masked_fill(~paid, torch.iinfo(torch.int64).max)
        return torch.argsort(rank, dim=-1, stable=True).argsort(-1) < depth
