"""The contract of a channel: what happens to messages between sender and receiver when nobody attacks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.contracts.edits import Fragments
from agentcomm.contracts.shape import TeamShape


@dataclass(frozen=True)
class ChannelInput:
    """What is about to pass a channel: B worlds, N receivers, M inbox slots.

    Attributes:
        present: [B, N, M] bool, messages that are on the wire (those that earlier channels lost are not).
        sender: [B, N, M] int64, claimed sender; N for a newcomer.
        size: [B, N, M] int64 bytes, header and seal included.
        hops: [B, N, M] int64, how many hops each may still take.
        step: [B] int64, step of each world's episode.
        step_seconds: Seconds that a step of the episode takes.
        round: Round within the step.
        generator: The channel's own randomness.
        fragments: Fragments that attacks put on the wire besides; None for none.
    """

    present: Tensor
    sender: Tensor
    size: Tensor
    hops: Tensor
    step: Tensor
    step_seconds: float
    round: int
    generator: torch.Generator
    fragments: Fragments | None = None

    @property
    def receiver(self) -> Tensor:
        """[B, N, M] int64."""
        agents = torch.arange(self.present.shape[1], device=self.present.device)
        return agents.view(1, -1, 1).expand_as(self.present)

    def rand(self) -> Tensor:
        """[B, N, M] uniform numbers in [0, 1)."""
        return torch.rand(self.present.shape, generator=self.generator, device=self.present.device)


@dataclass(frozen=True)
class ChannelEffect:
    """What a channel does to messages; None leaves that alone.

    Attributes:
        lost: [B, N, M] bool, never arrives.
        seconds: [B, N, M] float32, how much later it arrives.
        extra: [B, N, M] int64 bytes that the channel itself adds on the wire, such as fragment headers.
        hops: [B, N, M] int64 hops taken.
    """

    lost: Tensor | None = None
    seconds: Tensor | None = None
    extra: Tensor | None = None
    hops: Tensor | None = None


class ChannelConfig(PluginConfig):
    """Arguments every channel has."""


C_co = TypeVar("C_co", bound=ChannelConfig, default=ChannelConfig, covariant=True)


class Channel(Plugin[C_co]):
    """A stage between sender and receiver. Implement :meth:`carry`.

    Channels are composed: a message is lost if any of them loses it, and their delays add up. The network keeps
    what is on its way; a channel only says when it will be there.

    Attributes:
        fragments_messages: Whether it cuts messages into fragments, and takes those of attacks into its buffers.
    """

    fragments_messages: ClassVar[bool] = False

    def __init__(self, config: C_co, team_shape: TeamShape, slots: int) -> None:
        """Make it for a network.

        Args:
            config: Arguments.
            team_shape: Sizes.
            slots: M, inbox slots per receiver: k links and spare ones for injected messages.
        """
        self.config = config
        self.team_shape = team_shape
        self.slots = slots

    @abstractmethod
    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Say what becomes of one exchange's messages; ``memory`` may be changed in place."""

    def memory(self) -> dict[str, Tensor]:
        """Fresh memory: tensors [B, ...] that are reset with their world."""
        return {}


@dataclass(frozen=True)
class Composed(ChannelEffect):
    """What several channels do to messages together."""

    lost: Tensor
    seconds: Tensor
    extra: Tensor
    hops: Tensor


def compose(channels: Sequence[Channel], memories: Sequence[dict[str, Tensor]], entering: ChannelInput) -> Composed:
    """Pass messages through several channels.

    Args:
        channels: In the order in which messages pass them.
        memories: Of each.
        entering: What enters the first.
    """
    lost, extra, hops = (torch.zeros_like(x) for x in (entering.present, entering.size, entering.size))
    seconds = torch.zeros(entering.present.shape, device=entering.present.device)
    for channel, memory in zip(channels, memories, strict=True):
        present = entering.present & ~lost
        now = replace(entering, present=present, size=entering.size + extra, hops=entering.hops - hops)
        effect = channel.carry(now, memory)
        lost = lost if effect.lost is None else lost | (effect.lost & present)
        seconds = seconds if effect.seconds is None else seconds + effect.seconds
        extra = extra if effect.extra is None else extra + effect.extra
        hops = hops if effect.hops is None else hops + effect.hops
    return Composed(lost, seconds, extra, hops)
