"""The path from sender to receiver: channels say what becomes of messages, transit keeps those that take longer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agentcomm.contracts.edits import Fragments
from agentcomm.contracts.shape import Setting
from agentcomm.messages.channel import Channel, Passing, in_a_row
from agentcomm.messages.memory import Memory
from agentcomm.messages.traffic import LIFETIME, Traffic
from agentcomm.messages.transit import Transit


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
    """

    traffic: Traffic
    lost: Tensor
    late: Tensor
    forged: Tensor
    tampered: Tensor
    seconds: Tensor
    steps: Tensor
    extra: Tensor


class Path:
    """Channels in a row, and what is on its way through them.

    Args:
        channels: None where only attacks keep messages back.
        setting: Sizes.
        slots: M.
        step_seconds: Seconds that a step of an episode takes.
        seed: Seeds the channels' generator.
    """

    def __init__(
        self, channels: Sequence[Channel], setting: Setting, slots: int, step_seconds: float, seed: int
    ) -> None:
        self.channels = list(channels)
        self.step_seconds = step_seconds
        self.generator = torch.Generator(setting.device)
        self.generator.manual_seed(seed)
        self._memories = [Memory(channel.memory) for channel in self.channels]
        sizes = (setting.num_worlds, setting.rounds, setting.num_agents, slots, setting.width)
        self.transit = Transit(*sizes, LIFETIME, setting.device)

    def reset(self, worlds: Tensor) -> Tensor:
        """Start the given worlds ([W] indices) afresh; returns [W], how many messages were still on their way."""
        for memory in self._memories:
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
        kind: int,
        pieces: Fragments | None = None,
    ) -> Passed:
        """Carry one exchange.

        Args:
            traffic: What is on the wire.
            size: [B, N, M] int64 bytes of each message.
            forged: [B, N, M] bool, put there by an attack.
            tampered: [B, N, M] bool, changed by one.
            delay: [B, N, M] int64, for how many steps one keeps it back.
            step: [B] int64.
            kind: Exchange within the step.
            pieces: Fragments that attacks put on the wire besides.
        """
        passing = Passing(
            traffic.present, traffic.sender, size, traffic.hops, step, self.step_seconds, kind, self.generator, pieces
        )
        lost, seconds, extra, hops = in_a_row(self.channels, [memory.tensors for memory in self._memories], passing)
        seconds = seconds + delay * self.step_seconds
        traffic = replace(traffic, present=traffic.present & ~lost, hops=traffic.hops - hops)
        steps = self._steps(seconds)
        endless = traffic.present & (steps > LIFETIME)
        arrived = self.transit.pass_through(traffic, (forged, tampered), seconds, steps, step, kind)
        traffic, (forged, tampered), seconds, late = arrived
        return Passed(traffic, lost, late + endless, forged, tampered, seconds, self._steps(seconds), extra)

    def _steps(self, seconds: Tensor) -> Tensor:
        """Whole steps in ``seconds``; more than ``LIFETIME`` of them count as one more, however many they are.

        A ten-thousandth of a step is forgiven: 0.3 s are three steps of 0.1 s, which floats do not know.
        """
        return (seconds / self.step_seconds + 1e-4).clamp(max=LIFETIME + 1).long()

    def get_state(self) -> dict[str, Any]:
        """Everything needed to go on, as numpy arrays."""
        return {
            "memories": [memory.get_state() for memory in self._memories],
            "transit": self.transit.get_state(),
            "generator": self.generator.get_state().numpy().copy(),
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Restore what :meth:`get_state` saved."""
        for memory, state in zip(self._memories, saved["memories"], strict=True):
            memory.set_state(state)
        self.transit.set_state(saved["transit"])
        self.generator.set_state(torch.as_tensor(np.array(saved["generator"])))
