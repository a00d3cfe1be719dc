"""curfew: all messages are lost at night."""

from pydantic import Field

from agentcomm.base.registry import register
from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect


class CurfewConfig(ChannelConfig):
    day: int = Field(6, ge=1, description="steps of a day; the night is as long")


@register("channel", "curfew")
class Curfew(Channel[CurfewConfig]):
    def carry(self, entering, memory):
        night = entering.step % (2 * self.config.day) >= self.config.day
        return ChannelEffect(lost=entering.present & night.view(-1, 1, 1))
