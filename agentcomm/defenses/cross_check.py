"""cross_check: accept a content only if enough independent sources say about the same.

A source is the link that a message came in by, never the sender that it claims: forging a second sender does not make a
second source. A message is confirmed by itself and every message from another link within ``radius`` of it. What fewer
than ``quorum`` sources confirm is refused, also when fewer messages than that arrive at all (it fails closed), so that
``quorum - 1`` attackers cannot get a content of their own accepted. The score is the distance to the nearest
confirmation that is missing.

It suits tasks in which members report the same thing. Where senders know different things nothing is ever confirmed,
and an attacker who jams links silences honest minorities. Colluding attackers on ``quorum`` links confirm each other.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.base.masks import finite
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.defenses.parts.ranking import in_order
from agentcomm.defenses.robust import bounded


class CrossCheckConfig(DefenseConfig):
    """Arguments of ``cross_check``."""

    quorum: int = Field(2, ge=2, description="q, sources that must agree, with the message's own")
    radius: float = Field(0.5, gt=0, description="largest distance that counts as agreement, times sqrt(payload width)")


class CrossCheck(Defense[CrossCheckConfig]):
    """Counts, for each message, the links that confirm it."""

    answers = ("aa.l3.cross_validation",)
    adaptive = ("collude",)
    order = "trust"
    lossless = False
    fails_open = False
    reads_originals = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A wide radius, with which random messages confirm each other at times."""
        return {"": {"radius": 1.2}}

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs ``quorum`` links per receiver."""
        degree, quorum = deployment.shape.degree, self.config.quorum
        if deployment.silent or degree >= quorum:
            return super().unmet(deployment)
        few = f"it needs messages from quorum={quorum} sources, but agents of this team hear at most {degree}"
        return super().unmet(deployment) or f"{few}: use a denser topology, or a smaller quorum"

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Refuse what too few links confirm."""
        present, link, values = delivered.present, delivered.link, bounded(delivered.payload)
        agents, slots = self.team_shape.num_agents, present.shape[-1]
        if slots < self.config.quorum:
            return Verdicts(refuse=present)
        counts = present & (link < agents)  # what comes in by no link confirms nothing
        away = torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist") / self.team_shape.width**0.5
        # A link has one slot, so messages in two slots come from two links.
        other = counts.unsqueeze(-2) & ~torch.eye(slots, dtype=torch.bool, device=present.device)
        ordered = in_order(away.masked_fill(~other, torch.inf).movedim(-1, 0).contiguous())
        needed = ordered[self.config.quorum - 2]  # distance to the last confirmation that is needed
        score = torch.nan_to_num(needed / self.config.radius, posinf=torch.finfo(needed.dtype).max)
        confirmed = (needed <= self.config.radius) & finite(delivered.payload)
        # A message that came in by no link may repeat what the team says, but it is not a source itself.
        return Verdicts(refuse=present & ~(confirmed & counts), score=score.masked_fill(~present, 0.0))
