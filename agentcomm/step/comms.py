"""What lies between a team's members, and between them and their world: the message layer and the adversary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from agentcomm.contracts.attack import Attack
from agentcomm.contracts.directory_hook import DirectoryShape
from agentcomm.contracts.shape import Setting
from agentcomm.defense import Defense
from agentcomm.messages.channel import Channel
from agentcomm.messages.codec import Codec
from agentcomm.messages.network import Network
from agentcomm.step.adversary import Adversary


@dataclass
class Comms:
    """A team's message layer, and the adversary that acts on it; reset, saved and restored together.

    Attributes:
        adversary: All attacks, and the guards that hold them.
        network: What messages pass.
    """

    adversary: Adversary
    network: Network

    @classmethod
    def between(
        cls,
        shape: Setting,
        attacks: Sequence[Attack] = (),
        defenses: Sequence[Defense] = (),
        seed: int = 0,
        channels: Sequence[Channel] = (),
        codec: Codec | None = None,
        step_seconds: float = 0.1,
        numbers: int | None = None,
        directory: DirectoryShape | None = None,
    ) -> Comms:
        """Both for a team of that shape.

        Args:
            shape: Shape of the team.
            attacks: Attacks, in the order in which they act.
            defenses: Defenses.
            seed: Seeds keys, and the generators of each attack and of the channels.
            channels: As for ``Network``.
            codec: As for ``Network``.
            step_seconds: As for ``Network``.
            numbers: As for ``Network``.
            directory: Sizes of the team's directory; None for none.

        Raises:
            ValueError: If a part does not fit the team.
        """
        redraw = 1 - math.prod(1 - defense.redraw for defense in defenses)
        adversary = Adversary(attacks, shape, seed, directory, redraw)
        guards = adversary.message_guards
        return cls(adversary, Network(shape, guards, defenses, seed, channels, codec, step_seconds, numbers))

    def reset(self, worlds: Tensor) -> None:
        """Forget the episodes of the given worlds ([W] indices); counters continue."""
        self.adversary.reset(worlds)
        self.network.reset(worlds)

    def snapshot(self) -> dict[str, Any]:
        """The state of both, as plain values and numpy arrays."""
        return {"adversary": self.adversary.snapshot(), "network": self.network.get_state()}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take over a state that :meth:`snapshot` returned."""
        self.adversary.restore(saved["adversary"])
        self.network.set_state(saved["network"])
