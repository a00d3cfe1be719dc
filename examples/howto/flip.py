"""flip: negate payloads."""

from pydantic import Field

from agentcomm.base.registry import register
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView


class FlipConfig(AttackConfig):
    probability: float = Field(0.5, ge=0, le=1, description="chance that a message is negated")


@register("attack", "flip")
class Flip(Attack[FlipConfig]):
    risks = ("ua.l1.integrity",)

    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edge"), frozenset({"read", "modify"}), "none", self.config.budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        some = view.reach & (view.rand(*view.reach.shape) < self.config.probability)
        return MessageEdits(modify=some, change=-2 * view.payload)
