"""profile: bandwidth, bursty losses and delay that resemble Ethernet, WiFi or 5G.

In measurements on one testbed, uplink transfers over 5G took 33.3 times as long as over Ethernet, and 17.8 times as
long as over WiFi. Only these two ratios are measured. All other numbers in ``PROFILES`` are our choice of a plausible
order of magnitude: the 0.6 ms of Ethernet, bandwidths, jitter, loss rates and burst lengths.
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
TRANSFER_BYTES = 300  # size of the message to which transfer times refer
ETHERNET_SECONDS = 0.6e-3


@dataclass(frozen=True)
class Numbers:
    """Parameters of a network.

    Attributes:
        transfer: Mean transfer time of a single message of ``TRANSFER_BYTES``, in seconds.
        jitter: Mean of its random part, in seconds.
        bandwidth: Bandwidth of a sender's uplink, in bytes per second.
        loss: Share of lost messages.
        burst: Mean length of a burst of losses, in messages.
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

    network: Literal["ethernet", "wifi", "5g"] = Field("wifi", description="network to model")


class Profile(Channel[ProfileConfig]):
    """Bandwidth, bursts and delay in sequence: lost messages use the uplink, too."""

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
        """The memory of the parts, each tensor under ``part.name``."""
        return {f"{part.name}.{name}": value for part in self.parts for name, value in part.memory().items()}

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Pass messages through the parts."""
        memories: list[dict[str, Tensor]] = [{} for _ in self.parts]
        for part, own in zip(self.parts, memories, strict=True):
            prefix = f"{part.name}."
            own |= {name.removeprefix(prefix): v for name, v in memory.items() if name.startswith(prefix)}
        return compose(self.parts, memories, entering)
