"""stall: a compromised agent never takes the actions that its team expects of it.

Its action distribution is its policy's with every action replaced by the next one. In a team that must vote
unanimously it votes for another option than the one it believes in, so that no agreement is reached.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.continuous import Continuous
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import ActionView


class StallConfig(AttackConfig):
    """Arguments of ``stall``."""

    node: int = Field(0, ge=0, description="the compromised agent")
    share: float = Field(1.0, ge=0, le=1, description="share of the steps in which it stalls")


class Stall(Attack[StallConfig]):
    """A compromised agent that replaces each action by the next one."""

    risks = ("aa.l2.non_convergence",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """In all steps."""
        return {"": {"node": 1}}

    def threat_model(self) -> ThreatModel:
        """A compromised agent that chooses its actions and knows the policy."""
        position = Position(kind="node", node=self.config.node)
        return ThreatModel(position, frozenset({"act"}), "policy", self.config.budget)

    def idle(self, deployment: Deployment) -> str | None:
        """Parts of a continuous distribution are equally likely, so that the next one is as good."""
        if isinstance(deployment.shape.actions, Continuous):
            return "it moves probability from each action to the next, and all parts of a continuous one are as likely"
        return super().idle(deployment)

    def on_action(self, view: ActionView) -> Tensor:
        """Move from the policy's distribution towards the shifted one, as far as the budget's deviation allows."""
        probability, limit = view.probability, self.config.budget.deviation
        # One number for each of the B worlds, so that worlds do not depend on each other.
        luck = torch.rand(self.team_shape.num_worlds, generator=view.generator, device=probability.device)[view.worlds]
        change = (probability.roll(1, -1) - probability) * (luck < self.config.share).unsqueeze(-1)
        if limit is not None:
            largest = change.abs().amax(-1, keepdim=True)
            change = change * (limit * (1 - 1e-9) / largest.clamp_min(max(limit, 1e-30))).clamp(max=1.0)
        return (probability + change).unsqueeze(1)
