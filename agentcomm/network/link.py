"""Link: the channels between sender and receiver, and the messages in transit through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from agentcomm.base.numbers import Numbers
from agentcomm.base.state import Memory, State
from agentcomm.contracts.channel import Channel, ChannelInput, compose
from agentcomm.contracts.fragments import ForgedFragments, Reassembly
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.traffic import LIFETIME, Traffic
from agentcomm.network.transit import Transit


@dataclass(frozen=True)
class Passed:
    """The output of a link in one exchange: [B, N, M] each.

    Attributes:
        traffic: Messages that arrive now.
        lost: bool, messages that never arrive.
        late: int64, number of messages that were overtaken by newer ones or expired.
        forged: bool, arrived messages that an attack put on the wire.
        tampered: bool, arrived messages that an attack changed.
        seconds: float32 latency of the arrived messages, in seconds.
        steps: int64 latency in whole steps.
        size: int64 bytes of the arrived messages, with what channels added.
        extra: int64 bytes that channels added to the messages sent now.
        waits: int64 delay of the messages sent now, in steps.
        hops: int64 hops that they took.
    """

    traffic: Traffic
    lost: Tensor
    late: Tensor
    forged: Tensor
    tampered: Tensor
    seconds: Tensor
    steps: Tensor
    size: Tensor
    extra: Tensor
    waits: Tensor
    hops: Tensor


class Link(State):
    """A sequence of channels, and the messages in transit through them.

    Args:
        channels: Channels in order; empty if only attacks delay messages.
        team_shape: Shape of the team.
        slots: M.
        step_seconds: Duration of a step, in seconds.
        seed: Seed of the channels' generator.
    """

    keeps = ("generator", "memories", "transit")

    def __init__(
        self, channels: Sequence[Channel], team_shape: TeamShape, slots: int, step_seconds: float, seed: int
    ) -> None:
        self.channels = list(channels)
        self.step_seconds = step_seconds
        self.generator = torch.Generator(team_shape.device)
        self.generator.manual_seed(seed)
        self.memories = [Memory(channel.memory) for channel in self.channels]
        sizes = (team_shape.num_worlds, team_shape.rounds, team_shape.num_agents, slots, team_shape.width)
        self.transit = Transit(*sizes, LIFETIME, team_shape.device)

    def reset(self, worlds: Tensor) -> Tensor:
        """Reset the given worlds ([W] indices); returns [W], the number of messages that were in transit."""
        for memory in self.memories:
            memory.reset(worlds)
        return self.transit.reset(worlds)

    def carry(
        self,
        traffic: Traffic,
        size: Tensor,
        forged: Tensor,
        tampered: Tensor,
        delay: Tensor,
        step: Tensor,
        round_: int,
        fragments: ForgedFragments | None = None,
        reassembly: Reassembly | None = None,
        numbers: Numbers | None = None,
    ) -> Passed:
        """Carry one exchange.

        Args:
            traffic: Messages on the wire.
            size: [B, N, M] int64 bytes of each message.
            forged: [B, N, M] bool, messages that an attack put there.
            tampered: [B, N, M] bool, messages that an attack changed.
            delay: [B, N, M] int64 delay by attacks, in steps.
            step: [B] int64.
            round_: Round within the step.
            fragments: What attacks did to fragments.
            reassembly: Checks fragments before they take up a buffer; None if receivers accept all.
            numbers: Where delays are noted, which must be finite; None for nowhere.
        """
        entering = ChannelInput(
            traffic.present,
            traffic.sender,
            size,
            traffic.hops,
            step,
            self.step_seconds,
            round_,
            self.generator,
            fragments,
            reassembly,
        )
        did = compose(self.channels, [memory.tensors for memory in self.memories], entering, numbers)
        seconds = did.seconds + delay * self.step_seconds
        traffic = replace(traffic, present=traffic.present & ~did.lost, hops=traffic.hops - did.hops)
        waits = self._steps(seconds)
        endless = traffic.present & (waits > LIFETIME)
        marks = forged, tampered, size + did.extra
        traffic, (forged, tampered, arrived), seconds, late = self.transit.pass_through(
            traffic, marks, seconds, waits, step, round_
        )
        return Passed(
            traffic=traffic,
            lost=did.lost,
            late=late + endless,
            forged=forged,
            tampered=tampered,
            seconds=seconds,
            steps=self._steps(seconds),
            size=arrived,
            extra=did.extra,
            waits=waits,
            hops=did.hops,
        )

    def _steps(self, seconds: Tensor) -> Tensor:
        """Whole steps in ``seconds``, at most ``LIFETIME + 1``.

        A tolerance of a ten-thousandth of a step absorbs rounding: 0.3 s are three steps of 0.1 s.
        """
        return (seconds / self.step_seconds + 1e-4).clamp(max=LIFETIME + 1).long()
