"""What attacks by cards of strangers have in common: where they stand, and what is behind a card."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.contracts.directory_attack import DirectoryAttack, DirectoryAttackConfig
from agentcomm.contracts.outcome import Facts
from agentcomm.contracts.threat_model import Knowledge, Position, ThreatModel


class NewcomerConfig(DirectoryAttackConfig):
    """Arguments of who is behind a stranger's card."""

    quality: float = Field(0.0, ge=0, le=1, description="chance that a task given to it is delivered")
    stalls: bool = Field(False, description="keep tasks until their deadline instead of failing at once")


N_co = TypeVar("N_co", bound=DirectoryAttackConfig, default=DirectoryAttackConfig, covariant=True)


class Newcomer(DirectoryAttack[N_co]):
    """Reads the public cards and registers its own. It wins if tasks go to them."""

    knows: Knowledge = "protocol"

    def threat_model(self) -> ThreatModel:
        """Reads public cards and registers its own."""
        place = Position(kind="newcomer")
        return ThreatModel(place, frozenset({"read", "register"}), self.knows, self.config.budget)

    def share(self, facts: Facts) -> Tensor:
        """Tasks that went to an outsider."""
        return facts.share("misrouted")
