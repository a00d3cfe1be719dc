"""warden: draw actions anew from what the policy declares, now and then.

Who hides data in its actions (attack ``covert``) is overruled with that probability. Honest agents are, too, and lose
nothing: a new draw from the same law is as good. Nothing is refused, and no message is looked at.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig, Delivered, Verdicts
from agentcomm.contracts.shape import TeamShape


class WardenConfig(DefenseConfig):
    """Arguments of ``warden``."""

    probability: float = Field(0.2, ge=0, le=1, description="chance that an action is drawn anew")


class Warden(Defense[WardenConfig]):
    """Stands between agents and their actuators; it must be trusted, and know every agent's policy and input."""

    order = "response"

    def __init__(self, config: WardenConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        self.resample = config.probability

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Messages pass."""
        return Verdicts()
