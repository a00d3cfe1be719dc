"""quorum: a vote is decided by more than half of the honest members, however the compromised ones vote.

Where actions are votes, the votes about to be cast are counted. With up to ``faulty`` of N members compromised, an
option wins with more than (N + faulty) / 2 votes, a masking quorum: any two of these share more than ``faulty``
members, so no two options can win, and compromised members alone decide nothing. All members then vote for it, so
neither a silent member nor one that votes against it blocks a decision, as both do under unanimity. A quorum can be
reached without the compromised members only if N > 3 faulty, so smaller teams are refused.

After ``limit`` steps without one, the option that leads wins if it leads by more than ``faulty`` votes: then it leads
among honest members, too. Otherwise members vote as before.

It cannot stop: compromised members from delaying a decision on which honest ones are divided; messages that make honest
members vote for a wrong option; and more than ``faulty`` compromised members. Who counts the votes is trusted, and sees
the same votes of a member as everybody.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.verdicts import ActionRequest, ActionVerdicts


class QuorumConfig(DefenseConfig):
    """Arguments of ``quorum``."""

    faulty: int = Field(1, ge=0, description="members that may be compromised or silent")
    limit: int = Field(3, ge=0, description="steps after which a lead decides")


class Quorum(Defense[QuorumConfig]):
    """Counts votes, and carries out what wins."""

    order = "response"
    answers = ("aa.l2.life_cycle_monitoring",)
    adaptive = ("contradict",)
    fails_open = True
    lossless = False  # members that are outvoted must follow
    any_actions = False

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """One compromised member."""
        return {"": {}}

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs votes, and a team in which a quorum can be reached."""
        members, faulty = deployment.shape.num_agents, self.config.faulty
        if not deployment.votes:
            return f"it counts votes, but actions in {deployment.environment} are no votes"
        if members <= 3 * faulty:
            most = (members - 1) // 3
            return f"of {members} members, at most {most} may be compromised: choose faulty={most} or less"
        return super().unmet(deployment)

    def on_action(self, request: ActionRequest, memory: dict[str, Tensor]) -> ActionVerdicts:
        """Let all members vote for what has won."""
        members, faulty = self.team_shape.num_agents, self.config.faulty
        count = torch.zeros(len(request.step), request.logits.shape[1], dtype=torch.int64, device=request.action.device)
        count.index_put_((request.world, request.action), torch.ones_like(request.action), accumulate=True)
        ranked = count.topk(min(2, count.shape[1]), 1)
        most, winner = ranked.values[:, 0], ranked.indices[:, 0]
        late = request.step >= self.config.limit
        wins = (2 * most > members + faulty) | (late & (most - ranked.values[:, -1] > faulty))
        return ActionVerdicts(replace=torch.where(wins, winner, -1)[request.world])
