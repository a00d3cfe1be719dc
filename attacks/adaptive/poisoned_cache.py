"""poisoned_cache: be in the directory's last good answers, then keep it too busy to give better ones.

Aimed at ``last_good``, which goes on with what the directory said last: an answer that was poisoned once is used again,
and the outsider's card stays in it although its reputation has fallen. First it registers a card that claims every
skill; then it sends more empty requests than the hub can serve.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from pydantic import Field

from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView
from agentcomm.contracts.threat_model import Position, Power, ThreatModel
from attacks.directory.stranger import Stranger, StrangerConfig


class PoisonedCacheConfig(StrangerConfig):
    """Arguments of ``poisoned_cache``."""

    after: int = Field(3, ge=0, description="first step in which it keeps the hub busy")
    rate: int = Field(12, ge=0, le=4096, description="empty requests per step from then on")


class PoisonedCache(Stranger[PoisonedCacheConfig]):
    """A newcomer with one card, which fails its tasks, and then many empty requests."""

    risks = ("aa.l2.registration_pollution", "aa.l1.controller_blasting")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Soon."""
        return {"": {"after": 1, "rate": 4}}

    def threat_model(self) -> ThreatModel:
        """A newcomer that reads public cards, registers its own, sends requests, and knows that answers are kept."""
        powers: frozenset[Power] = frozenset({"read", "register", "inject"})
        return ThreatModel(Position(kind="newcomer"), powers, "defense", self.config.budget)

    def requests(self) -> int:
        """``rate`` per step."""
        return self.config.rate

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """Send the card, and later the requests that the budget allows besides."""
        edits = super().on_directory(view)
        assert edits.register is not None
        left = (view.remaining - edits.register.where.sum(1)).clamp_min(0)
        busy = torch.where(view.step >= self.config.after, self.config.rate, 0)
        return replace(edits, requests=busy.minimum(left))
