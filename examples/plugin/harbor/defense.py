"""dim: reject messages that are louder than honest ones, and score all by how loud they are."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.verdicts import Delivered, Verdicts


class DimConfig(DefenseConfig):
    """Arguments of ``dim``."""

    loudest: float = Field(1.5, gt=1, description="longest payload, in units of an honest one's length")


class Dim(Defense[DimConfig]):
    """Honest tokens leave a layer normalization, so their length is sqrt(D)."""

    order = "content"
    adaptive = ("old_light:loudness=1",)  # as loud as an honest message

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Verdicts on the messages of an exchange [B, N, M]; an attacker's payloads may be inf or nan."""
        loudness = delivered.payload.norm(dim=-1).nan_to_num(1e9, 1e9) / self.team_shape.width**0.5
        return Verdicts(refuse=delivered.present & (loudness > self.config.loudest), score=loudness)
