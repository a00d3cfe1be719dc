"""The contract of a channel: loss, delay and overhead of messages between sender and receiver, without attacks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.base.answers import check_tensor
from agentcomm.base.calling import answered, calling
from agentcomm.base.numbers import Numbers
from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.contracts.fragments import ForgedFragments, Reassembly
from agentcomm.contracts.shape import TeamShape


@dataclass(frozen=True)
class ChannelInput:
    """The messages that enter a channel: B worlds, N receivers, M inbox slots.

    Attributes:
        present: [B, N, M] bool, messages on the wire (without those that earlier channels lost).
        sender: [B, N, M] int64, claimed sender; N for a newcomer.
        size: [B, N, M] int64 bytes, header and seal included.
        hops: [B, N, M] int64, remaining hops.
        step: [B] int64, step of each world's episode.
        step_seconds: Seconds that a step of the episode takes.
        round: Round within the step.
        generator: The channel's own randomness.
        fragments: What attacks did to fragments; None for nothing.
        reassembly: Checks fragments before they take up a buffer; None if receivers accept all.
    """

    present: Tensor
    sender: Tensor
    size: Tensor
    hops: Tensor
    step: Tensor
    step_seconds: float
    round: int
    generator: torch.Generator
    fragments: ForgedFragments | None = None
    reassembly: Reassembly | None = None

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
    """The effect of a channel on messages; None means no effect.

    Attributes:
        lost: [B, N, M] bool, messages that never arrive.
        seconds: [B, N, M] float32 delay in seconds.
        extra: [B, N, M] int64 bytes that the channel adds on the wire, such as fragment headers.
        hops: [B, N, M] int64 hops taken.
    """

    lost: Tensor | None = None
    seconds: Tensor | None = None
    extra: Tensor | None = None
    hops: Tensor | None = None


class ChannelConfig(PluginConfig):
    """Arguments of every channel."""


C_co = TypeVar("C_co", bound=ChannelConfig, default=ChannelConfig, covariant=True)


class Channel(Plugin[C_co]):
    """Loss, delay and overhead between sender and receiver. Implement :meth:`carry`.

    Channels are composed: a message is lost if any of them loses it, and their delays add up. The network stores
    delayed messages; a channel only computes their delay.

    Attributes:
        fragments_messages: Whether it splits messages into fragments, and buffers fragments that attacks send.
    """

    fragments_messages: ClassVar[bool] = False

    def __init__(self, config: C_co, team_shape: TeamShape, slots: int) -> None:
        """Create the channel for a network.

        Args:
            config: Arguments.
            team_shape: Sizes.
            slots: M, inbox slots per receiver: k links, and spare slots for injected messages.
        """
        self.config = config
        self.team_shape = team_shape
        self.slots = slots

    @abstractmethod
    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        """Compute the effect on the messages of one exchange; ``memory`` may be changed in place."""

    def memory(self) -> dict[str, Tensor]:
        """Fresh memory: tensors [B, ...], whose rows are reset when the episode of their world ends."""
        return {}

    @property
    def room(self) -> int | None:
        """Bytes of a fragment that are left for data, and for tags; None if it does not fragment messages."""
        return None


@dataclass(frozen=True)
class Composed(ChannelEffect):
    """The combined effect of several channels on messages."""

    lost: Tensor
    seconds: Tensor
    extra: Tensor
    hops: Tensor


def compose(
    channels: Sequence[Channel],
    memories: Sequence[dict[str, Tensor]],
    entering: ChannelInput,
    numbers: Numbers | None = None,
) -> Composed:
    """Pass messages through several channels.

    Args:
        channels: Channels, in the order in which messages pass them.
        memories: Memory of each channel.
        entering: Messages that enter the first channel.
        numbers: Where delays are noted, which must be finite; None for nowhere.

    Raises:
        HookError: If a channel raises an error or breaks its contract.
    """
    lost, extra, hops = (torch.zeros_like(x) for x in (entering.present, entering.size, entering.size))
    seconds = torch.zeros(entering.present.shape, device=entering.present.device)
    for channel, memory in zip(channels, memories, strict=True):
        present = entering.present & ~lost
        now = replace(entering, present=present, size=entering.size + extra, hops=entering.hops - hops)
        with calling(f"channel {channel.name!r}", "carry"):
            effect = channel.carry(now, memory)
        _check(channel, effect, now, numbers)
        lost = lost if effect.lost is None else lost | (effect.lost & present)
        seconds = seconds if effect.seconds is None else seconds + effect.seconds
        extra = extra if effect.extra is None else extra + effect.extra
        hops = hops if effect.hops is None else hops + effect.hops
    return Composed(lost, seconds, extra, hops)


def _check(channel: Channel, effect: ChannelEffect, entering: ChannelInput, numbers: Numbers | None) -> None:
    what, shape = f"channel {channel.name!r}", tuple(entering.present.shape)
    answered(effect, ChannelEffect, what, "carry", "a ChannelEffect")
    check_tensor(what, "carry: lost", effect.lost, shape, torch.bool)
    check_tensor(what, "carry: seconds", effect.seconds, shape, torch.float32)
    check_tensor(what, "carry: extra", effect.extra, shape, torch.int64)
    check_tensor(what, "carry: hops", effect.hops, shape, torch.int64)
    if numbers is not None and effect.seconds is not None:
        numbers.note(what, "delay (carry: seconds)", effect.seconds.masked_fill(~entering.present, 0.0))
