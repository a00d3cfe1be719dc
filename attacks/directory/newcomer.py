"""A base for attacks that register cards as an outsider: their threat model, and what is behind a card."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.contracts.directory_attack import DirectoryAttack, DirectoryAttackConfig
from agentcomm.contracts.outcome import Facts
from agentcomm.contracts.threat_model import Knowledge, Position, ThreatModel


class NewcomerConfig(DirectoryAttackConfig):
    """Arguments of the agent behind an outsider's card."""

    quality: float = Field(0.0, ge=0, le=1, description="chance that it delivers a task")
    stalls: bool = Field(False, description="keep tasks until their deadline instead of failing at once")


N_co = TypeVar("N_co", bound=DirectoryAttackConfig, default=DirectoryAttackConfig, covariant=True)


class Newcomer(DirectoryAttack[N_co]):
    """An outsider that reads public cards and registers its own, to attract tasks."""

    knows: Knowledge = "protocol"

    def threat_model(self) -> ThreatModel:
        """A newcomer that reads public cards and registers its own."""
        place = Position(kind="newcomer")
        return ThreatModel(place, frozenset({"read", "register"}), self.knows, self.config.budget)

    def share(self, facts: Facts) -> Tensor:
        """Share of tasks that went to an outsider."""
        return facts.share("misrouted")
