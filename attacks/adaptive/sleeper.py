"""sleeper: earn trust by honest messages, strike for a few steps, and behave again until it is trusted anew.

Aimed at defenses that keep books over time: ``reputation``, ``quarantine``, ``reliability``, ``repair``, ``shut_gate``,
``rekey``; and, at a compromised agent, at all that ask who speaks rather than what is said: its messages bear valid
seals and tokens. On-off attacks exploit that good and bad conduct are weighed alike, and that isolation ends (Sun, Han
and Liu, "Defense of trust management vulnerabilities in distributed networks", IEEE Commun. Mag. 2008).
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field

from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.views import MessageView
from attacks.adaptive.base import Adaptive, AdaptiveConfig, most_harmful, steepest


class SleeperConfig(AdaptiveConfig):
    """Arguments of ``sleeper``."""

    node: int | None = Field(0, ge=0, description="the compromised agent; none for an attacker on the path of links")
    after: int = Field(2, ge=0, description="steps of honest conduct before the first strike")
    strikes: int = Field(1, ge=1, description="steps for which it strikes")
    rest: int = Field(2, ge=0, description="steps of honest conduct between strikes")


class Sleeper(Adaptive[SleeperConfig]):
    """An on-off attacker: in a strike it negates payloads, or pushes them where they do more harm."""

    risks = ("aa.l2.exploitation_trojan",)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """At a compromised agent."""
        return {"": {"node": 1, "after": 1, "rest": 1}}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Strike in the steps of a strike, and read only in the others."""
        c = self.config
        since = view.step - c.after
        striking = (since >= 0) & (since % (c.strikes + c.rest) < c.strikes)
        some = self.drawn(view) & striking.view(-1, 1, 1)
        if not bool(some.any()):
            return MessageEdits(modify=some, change=torch.zeros_like(view.payload))
        pushed = 2 * view.payload.norm(dim=-1, keepdim=True) * steepest(view)
        changes = [torch.where(some.unsqueeze(-1), self.within(change), 0.0) for change in (-2 * view.payload, pushed)]
        return MessageEdits(modify=some, change=most_harmful(view, changes))
