"""reputation: refuse messages of senders that other defenses have found bad, until they have proved themselves again.

Each receiver trusts each sender by a number in 0 .. 1, which starts at 1. A message that another defense refuses, or
whose score reaches ``suspicion``, multiplies it by ``decay``; an accepted one moves it towards 1 by the share
``recovery`` of the way, so that trust is lost fast and regained slowly (Ganeriwal, Balzano and Srivastava,
"Reputation-based framework for high integrity sensor networks", ACM TOSN 4, 2008, section 5, ages trust in this way).
Below ``threshold`` messages are refused, but for the share ``probation``, by which a sender can earn trust again.
The score is the distrust 1 - trust.

Books are kept by claimed sender, after authentication: a message that failed it says nothing about the sender that it
names. Without authentication whoever forges bad messages in a member's name gets that member excluded. Books by link
(``by: link``) need no identity: who attacks on a link can close it, as it could by dropping its messages.

It does not stop an attacker that no other defense finds, nor one that behaves well until its one strike counts.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, IdentityConfig, needs_judge
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.verdicts import Delivered, ExchangeOutcome, Responses, Verdicts


class ReputationConfig(IdentityConfig):
    """Arguments of ``reputation``."""

    by: Literal["sender", "link"] = Field("sender", description="whose trust: the claimed sender's, or the link's")
    decay: float = Field(0.5, gt=0, lt=1, description="factor of trust for each bad message")
    recovery: float = Field(0.05, gt=0, le=1, description="share of lost trust that an accepted message restores")
    threshold: float = Field(0.3, gt=0, lt=1, description="trust below which messages are refused")
    probation: float = Field(0.1, ge=0, le=1, description="share of a distrusted sender's messages that are accepted")
    suspicion: float | None = Field(
        None, gt=0, description="score of another defense from which a message counts as bad; none for refusals only"
    )


class Reputation(Defense[ReputationConfig]):
    """Trust per receiver and sender; needs other defenses that refuse or score messages."""

    order = "trust"
    answers = ("aa.l2.behavior_auditing_and_responsibility_tracing",)
    adaptive = ("sleeper", "frame")
    needs_identity = True
    history = None
    draws = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """By link, which works without authentication, and by claimed sender, against better knowledge."""
        return {"": {"by": "link"}, "framed": {"unauthenticated": True, "decay": 0.2}}

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs a defense that refuses messages, or one that scores them if scores count."""
        return super().unmet(deployment) or needs_judge(self, deployment, scores=self.config.suspicion is not None)

    def memory(self) -> dict[str, Tensor]:
        """``trust`` [B, N, N + 1] of receivers in senders; that in outsiders, in the last column, stays 1."""
        s = self.team_shape
        return {"trust": torch.ones(s.num_worlds, s.num_agents, s.num_agents + 1, device=s.device)}

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Refuse messages of distrusted senders, but for some on probation."""
        d = delivered
        named = d.sender.clamp(0, self.team_shape.num_agents) if self.config.by == "sender" else d.link
        trust = memory["trust"].gather(2, named)
        tried = d.rand(*d.present.shape) < self.config.probation
        return Verdicts(refuse=d.present & (trust < self.config.threshold) & ~tried, score=1 - trust)

    def respond(self, outcome: ExchangeOutcome, memory: dict[str, Tensor]) -> Responses:
        """Take trust for bad messages, and give some back for good ones."""
        trust, agents, o = memory["trust"], self.team_shape.num_agents, outcome
        bad = self._bad(o)
        named = o.link
        if self.config.by == "sender":
            named = o.sender.clamp(0, agents)
            bad = bad & ~o.unproven
        count = torch.zeros_like(trust).scatter_add_(2, named, bad.float())
        good = torch.zeros_like(trust).scatter_add_(2, named, (o.accepted & ~bad).float())
        trust.copy_((1 - (1 - trust) * (1 - self.config.recovery) ** good) * self.config.decay**count)
        trust[..., agents] = 1.0
        return Responses()

    def _bad(self, outcome: ExchangeOutcome) -> Tensor:
        """[B, N, M] bool, messages that other defenses refuse or find suspicious."""
        bad = torch.zeros_like(outcome.arrived)
        for by, refused in outcome.refused.items():
            bad = bad | refused if by not in (self.name, "gate") else bad
        if self.config.suspicion is not None:
            for by, score in outcome.scores.items():
                bad = bad | (score >= self.config.suspicion) if by != self.name else bad
        return bad & outcome.arrived

    def _unidentified(self, deployment: Deployment) -> str | None:
        """Links need no identity."""
        return None if self.config.by == "link" else super()._unidentified(deployment)
