"""repair: put the last message that was accepted on a link into the place of one that other defenses have refused.

Refusing a message turns tampering into loss; a receiver that still knows what the sender said a moment ago loses less.
What is put in place is old: it is kept for ``steps`` steps at most. The attack reaches its goal where old content
serves it, as in a task whose state changes from step to step, and whoever gets one message accepted decides what is
repeated.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.base.masks import finite
from agentcomm.contracts.defense import Defense, DefenseConfig, needs_judge
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.verdicts import Delivered, Replacement, Verdicts
from agentcomm.defenses.parts.books import read, write


class RepairConfig(DefenseConfig):
    """Arguments of ``repair``."""

    steps: int = Field(3, ge=1, description="steps for which an accepted message may be repeated")


class Repair(Defense[RepairConfig]):
    """Remembers the last accepted payload per link and round; needs other defenses that refuse messages."""

    order = "response"
    adaptive = ("sleeper", "frame:how=tamper")
    history = None
    refuses = False
    changes_payloads = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """The defaults."""
        return {"": {}}

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs a defense that refuses messages."""
        return super().unmet(deployment) or needs_judge(self, deployment)

    def memory(self) -> dict[str, Tensor]:
        """``last`` [B, N, N + 1, rounds, D] by link, and ``at`` [B, N, N + 1, rounds] int64, its step; -1 for none.

        Place N is that of messages that came in by no link, of which none is remembered.
        """
        s = self.team_shape
        sizes = (s.num_worlds, s.num_agents, s.num_agents + 1, s.rounds)
        at = torch.full(sizes, -1, dtype=torch.int64, device=s.device)
        return {"last": torch.zeros(*sizes, s.width, device=s.device), "at": at}

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Repair refused messages, and remember accepted ones."""
        d, agents = delivered, self.team_shape.num_agents
        last, at = memory["last"], memory["at"].select(3, d.round)
        before, when = read(last, d.link, d.round), at.gather(2, d.link)
        now = d.step.view(-1, 1, 1)
        where = d.refused & (d.link < agents) & (when >= 0) & (now - when <= self.config.steps)
        # A link has one slot, so no two messages of an exchange are remembered in one place but N, which is cleared.
        kept = d.present & (d.link < agents) & finite(d.payload)
        write(last, d.link, d.round, torch.where(kept.unsqueeze(-1), d.payload, before))
        at.scatter_(2, d.link, torch.where(kept, now, when))
        last[:, :, agents, d.round], at[:, :, agents] = 0.0, -1
        return Verdicts(repair=Replacement(where, before))
