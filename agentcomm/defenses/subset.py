"""subset: every receiver hears k of its links, drawn uniformly in every step.

How a team is trained for ``ensemble`` (AME; Sun et al., ICLR 2023): the policy learns to act on any k messages. A link
on which nothing came counts as one of the k. It is no protection by itself: an attacker's message is heard in a share k
/ n of the steps.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.verdicts import InboxView


class SubsetConfig(DefenseConfig):
    """Arguments of ``subset``."""

    k: int = Field(1, ge=1, description="links that are heard")


class Subset(Defense[SubsetConfig]):
    """Draws one subset per world and receiver; of what came in by no link nothing is heard."""

    adaptive = ("gradient:adaptive=true,samples=4",)
    order = "trust"
    refuses = False
    lossless = False
    draws: ClassVar[bool] = True

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs more links than are heard."""
        missing, (k, degree) = super().unmet(deployment), (self.config.k, deployment.shape.degree)
        if missing is not None or deployment.silent or k < degree:
            return missing
        return f"k={k} links are heard, but agents of this team have {degree}: use a smaller k"

    def subsets(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        """One subset of k links for each receiver."""
        degree = self.team_shape.degree
        if degree <= self.config.k:
            return None
        worlds, agents, _ = inbox.present.shape
        chosen = inbox.rand(worlds, agents, degree).topk(self.config.k).indices
        return torch.zeros_like(inbox.present).scatter_(2, chosen, True).unsqueeze(0)
