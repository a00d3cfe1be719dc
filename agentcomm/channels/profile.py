"""profile: one stage that is like Ethernet, WiFi or 5G: a line of some bandwidth, losses in bursts, and delay.

One measured testbed found that uplink transfers over 5G take 33.3 times as long as over Ethernet, and 17.8 times as
long as over WiFi. Only these two ratios are measured. Everything else in ``PROFILES`` is our choice of a plausible
order of magnitude: the 0.6 ms that the ratios start from, bandwidths, jitter, loss rates and lengths of bursts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from agentcomm.channels.bandwidth import Bandwidth, BandwidthConfig
from agentcomm.channels.bursts import Bursts, BurstsConfig
from agentcomm.channels.delay import Delay, DelayConfig
from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput, compose
from agentcomm.contracts.shape import TeamShape

FIVE_G_TO_ETHERNET = 33.3  # measured
FIVE_G_TO_WIFI = 17.8  # measured
TRANSFER_BYTES = 300  # the message that transfer times are those of
ETHERNET_SECONDS = 0.6e-3


@dataclass(frozen=True)
class Numbers:
    """What a network is like.

    Attributes:
        transfer: Seconds, mean time of a message of ``TRANSFER_BYTES`` that waits for no other.
        jitter: Seconds of it that are random, on average.
        bandwidth: Bytes per second of a sender's uplink.
        loss: Share of messages that are lost,
        burst: this many in a row, on average.
    """

    transfer: float
    jitter: float
    bandwidth: float
    loss: float
    burst: float


PROFILES = {
    "ethernet": Numbers(ETHERNET_SECONDS, 0.02e-3, 12.5e6, 1e-5, 1.0),
    "wifi": Numbers(ETHERNET_SECONDS * FIVE_G_TO_ETHERNET / FIVE_G_TO_WIFI, 0.4e-3, 2.5e6, 0.01, 3.0),
    "5g": Numbers(ETHERNET_SECONDS * FIVE_G_TO_ETHERNET, 4e-3, 1.25e6, 0.005, 5.0),
}


class ProfileConfig(ChannelConfig):
    """Arguments of ``profile``."""

    network: Literal["ethernet", "wifi", "5g"] = Field("wifi", description="which network it is like")


class Profile(Channel[ProfileConfig]):
    """Bandwidth, bursts and delay in a row: what is lost on the air has used the uplink."""

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Each network."""
        return {"": {}, "ethernet": {"network": "ethernet"}, "5g": {"network": "5g"}}

    def __init__(self, config: ProfileConfig, team_shape: TeamShape, slots: int) -> None:
        super().__init__(config, team_shape, slots)
        n = PROFILES[config.network]
        latency = n.transfer - n.jitter - TRANSFER_BYTES / n.bandwidth
        bursts = BurstsConfig(to_bad=n.loss / (n.burst * (1 - n.loss)), to_good=1 / n.burst)
        self.parts: tuple[Channel, ...] = (
            Bandwidth(BandwidthConfig(bytes_per_second=n.bandwidth), team_shape, slots),
            Bursts(bursts, team_shape, slots),
            Delay(DelayConfig(seconds=latency, jitter=n.jitter), team_shape, slots),
        )

    def memory(self) -> dict[str, Tensor]:
        """That of the parts, each tensor under ``part.name``."""
        return {f"{part.name}.{name}": value for part in self.parts for name, value in part.memory().items()}

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Pass the parts."""
        memories: list[dict[str, Tensor]] = [{} for _ in self.parts]
        for part, own in zip(self.parts, memories, strict=True):
            prefix = f"{part.name}."
            own |= {name.removeprefix(prefix): v for name, v in memory.items() if name.startswith(prefix)}
        return compose(self.parts, memories, entering)
