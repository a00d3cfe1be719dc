"""rekey: give an agent a new key after messages in its name have failed authentication.

Seals by the old key no longer verify from the next exchange on. That voids a stolen key and every sealed message that
an attacker has kept back or copied. Honest messages in transit are lost, so each forgery in a member's name costs that
member's delayed messages. A compromised member gets the new key like all others: it is not stopped.

With ``every`` all keys are renewed at regular intervals, too, which bounds the use of a key that was stolen unnoticed.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig, authenticates
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.verdicts import ExchangeOutcome, Responses


class RekeyConfig(DefenseConfig):
    """Arguments of ``rekey``."""

    limit: int = Field(3, ge=1, description="messages in an agent's name that fail authentication before it is renewed")
    every: int = Field(0, ge=0, description="steps after which all keys are renewed in any case; 0 for never")


class Rekey(Defense[RekeyConfig]):
    """Counts failed authentications per claimed sender; needs a defense that authenticates."""

    order = "response"
    answers = ("ua.l2.identity_authentication",)
    adaptive = ("frame", "late")
    needs_seal = True
    history = None

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """At the first failure, and at regular intervals."""
        return {"": {"limit": 1, "every": 2}}

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs a defense that authenticates senders."""
        missing = super().unmet(deployment)
        if missing is None and not any(authenticates(other) for other in deployment.defenses):
            return "nothing verifies seals, so new keys change nothing: deploy authenticate+rekey"
        return missing

    def memory(self) -> dict[str, Tensor]:
        """``failed`` [B, N + 1] int64, by claimed sender since its key was last renewed."""
        s = self.team_shape
        return {"failed": torch.zeros(s.num_worlds, s.num_agents + 1, dtype=torch.int64, device=s.device)}

    def respond(self, outcome: ExchangeOutcome, memory: dict[str, Tensor]) -> Responses:
        """Renew the keys of agents in whose names too many messages have failed."""
        failed, agents = memory["failed"], self.team_shape.num_agents
        sender = outcome.sender.clamp(0, agents).flatten(1)
        failed.scatter_add_(1, sender, outcome.unproven.flatten(1).long())
        renew = failed >= self.config.limit
        if self.config.every and outcome.round == self.team_shape.rounds - 1:
            due = (outcome.step > 0) & (outcome.step % self.config.every == 0)
            renew = renew | due.unsqueeze(1)
        failed.masked_fill_(renew, 0)
        return Responses(rekey=renew[:, :-1])
