"""The path from sender to receiver: channels say what becomes of messages, transit keeps those that take longer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from agentcomm.base.state import Memory, State
from agentcomm.contracts.channel import Channel, ChannelInput, compose
from agentcomm.contracts.edits import Fragments
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.traffic import LIFETIME, Traffic
from agentcomm.network.transit import Transit


@dataclass(frozen=True)
class Passed:
    """What came out of the path in one exchange: [B, N, M] each.

    Attributes:
        traffic: What arrives now.
        lost: bool, what never will.
        late: int64, messages overtaken by newer ones, or too long on their way.
        forged: bool, which of the arrived were put on the wire by an attack.
        tampered: bool, which of them were changed by one.
        seconds: float32, how long the arrived took.
        steps: int64, the same in whole steps.
        extra: int64 bytes that channels added to what was sent.
        waits: int64, after how many steps what was sent now arrives.
        hops: int64 hops that it took.
    """

    traffic: Traffic
    lost: Tensor
    late: Tensor
    forged: Tensor
    tampered: Tensor
    seconds: Tensor
    steps: Tensor
    extra: Tensor
    waits: Tensor
    hops: Tensor


class Link(State):
    """Channels in a row, and what is on its way through them.

    Args:
        channels: None where only attacks keep messages back.
        team_shape: Sizes.
        slots: M.
        step_seconds: Seconds that a step of an episode takes.
        seed: Seeds the channels' generator.
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
        """Start the given worlds ([W] indices) afresh; returns [W], how many messages were still on their way."""
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
        fragments: Fragments | None = None,
    ) -> Passed:
        """Carry one exchange.

        Args:
            traffic: What is on the wire.
            size: [B, N, M] int64 bytes of each message.
            forged: [B, N, M] bool, put there by an attack.
            tampered: [B, N, M] bool, changed by one.
            delay: [B, N, M] int64, for how many steps one keeps it back.
            step: [B] int64.
            round_: Round within the step.
            fragments: Fragments that attacks put on the wire besides.
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
        )
        did = compose(self.channels, [memory.tensors for memory in self.memories], entering)
        seconds = did.seconds + delay * self.step_seconds
        traffic = replace(traffic, present=traffic.present & ~did.lost, hops=traffic.hops - did.hops)
        waits = self._steps(seconds)
        endless = traffic.present & (waits > LIFETIME)
        arrived = self.transit.pass_through(traffic, (forged, tampered), seconds, waits, step, round_)
        traffic, (forged, tampered), seconds, late = arrived
        return Passed(
            traffic=traffic,
            lost=did.lost,
            late=late + endless,
            forged=forged,
            tampered=tampered,
            seconds=seconds,
            steps=self._steps(seconds),
            extra=did.extra,
            waits=waits,
            hops=did.hops,
        )

    def _steps(self, seconds: Tensor) -> Tensor:
        """Whole steps in ``seconds``; more than ``LIFETIME`` of them count as one more, however many they are.

        A ten-thousandth of a step is forgiven: 0.3 s are three steps of 0.1 s, which floats do not know.
        """
        return (seconds / self.step_seconds + 1e-4).clamp(max=LIFETIME + 1).long()
