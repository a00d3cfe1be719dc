"""Comms: a team's message layer, and the adversary that attacks it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from agentcomm.base.state import State
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.channel import Channel
from agentcomm.contracts.codec import Codec
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.directory_hook import DirectoryShape
from agentcomm.contracts.shape import TeamShape
from agentcomm.network.network import Network
from agentcomm.step.adversary import Adversary


@dataclass
class Comms(State):
    """A team's message layer and the adversary, which are reset, saved and restored together.

    Attributes:
        adversary: All attacks, and their guards.
        network: The message layer.
    """

    keeps: ClassVar[tuple[str, ...]] = ("adversary", "network")

    adversary: Adversary
    network: Network

    @classmethod
    def between(
        cls,
        shape: TeamShape,
        attacks: Sequence[Attack] = (),
        defenses: Sequence[Defense] = (),
        seed: int = 0,
        channels: Sequence[Channel] = (),
        codec: Codec | None = None,
        step_seconds: float = 0.1,
        numbers: int | None = None,
        directory: DirectoryShape | None = None,
        transport: str = "batch",
    ) -> Comms:
        """The message layer and the adversary of a team.

        Args:
            shape: Shape of the team.
            attacks: Attacks, in the order in which they act.
            defenses: Defenses.
            seed: Seed of the keys, and of the generators of each attack and of the channels.
            channels: As for ``Network``.
            codec: As for ``Network``.
            step_seconds: As for ``Network``.
            numbers: As for ``Network``.
            directory: Shape of the team's directory; None without a directory.
            transport: As for ``Network``.

        Raises:
            ValueError: If a part does not fit the team.
        """
        resample = 1 - math.prod(1 - defense.resample for defense in defenses)
        adversary = Adversary(attacks, shape, seed, directory, resample)
        guards = adversary.message_guards
        parts = (shape, guards, defenses, seed, channels, codec, step_seconds, numbers, transport)
        return cls(adversary, Network(*parts))

    def reset(self, worlds: Tensor) -> None:
        """Reset the given worlds ([W] indices) for new episodes; counters continue."""
        self.adversary.reset(worlds)
        self.network.reset(worlds)
