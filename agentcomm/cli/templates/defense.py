"""my_defense: reject messages that are much longer than an honest one, and score all by their length."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.verdicts import Delivered, Verdicts


class MyDefenseConfig(DefenseConfig):
    """Arguments of ``my_defense``."""

    longest: float = Field(2.0, gt=1, description="longest payload, in units of an honest one's length")


class MyDefense(Defense[MyDefenseConfig]):
    """Honest tokens of most policies have the length sqrt(D)."""

    order = "content"  # it judges payloads, after all that judge envelopes

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Verdicts on the messages of an exchange, [B, N, M]; payloads of an attacker may be inf or nan."""
        length = delivered.payload.norm(dim=-1).nan_to_num(1e9, 1e9) / self.team_shape.width**0.5
        return Verdicts(refuse=delivered.present & (length > self.config.longest), score=length)
