"""blast: send the hub more empty requests than it can serve."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.contracts.directory_attack import DirectoryAttack, DirectoryAttackConfig
from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView
from agentcomm.contracts.outcome import Facts
from agentcomm.contracts.threat_model import Position, ThreatModel


class BlastConfig(DirectoryAttackConfig):
    """Arguments of ``blast``."""

    rate: int = Field(12, ge=0, le=4096, description="empty requests per step")


B_co = TypeVar("B_co", bound=BlastConfig, default=BlastConfig, covariant=True)


class Blast(DirectoryAttack[B_co]):
    """A newcomer that keeps the hub busy, without reading anything."""

    risks = ("aa.l1.controller_blasting", "ua.l1.availability")

    def threat_model(self) -> ThreatModel:
        """A newcomer that sends requests and reads nothing."""
        return ThreatModel(
            Position(kind="newcomer"), frozenset({"inject"}), "none", self.config.budget, objective="exhaust"
        )

    def requests(self) -> int:
        """``rate`` per step."""
        return self.config.rate

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """Send ``rate`` requests, or as many as the budget allows."""
        return DirectoryEdits(requests=torch.full_like(view.remaining, self.config.rate).minimum(view.remaining))

    def share(self, facts: Facts) -> Tensor:
        """Share of look-ups that were not served."""
        return facts.share("unserved")
