"""quiet: reject what is much louder than an honest message, and score all by how loud they are."""

from pydantic import Field
from torch import Tensor

from agentcomm.base.registry import register
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.verdicts import Delivered, Verdicts


class QuietConfig(DefenseConfig):
    loudest: float = Field(2.0, gt=1, description="longest payload, in units of an honest one's length")


@register("defense", "quiet")
class Quiet(Defense[QuietConfig]):
    order = "content"

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        loudness = delivered.payload.norm(dim=-1).nan_to_num(1e9, 1e9) / self.team_shape.width**0.5
        return Verdicts(refuse=delivered.present & (loudness > self.config.loudest), score=loudness)
