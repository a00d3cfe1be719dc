"""Comms: a team's message layer, the adversary that attacks it, and the defenders of its actions and directory."""

from __future__ import annotations

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
from agentcomm.step.defenders import Defenders


@dataclass
class Comms(State):
    """A team's message layer, adversary and defenders, which are reset, saved and restored together.

    Attributes:
        adversary: All attacks, and their guards.
        network: The message layer.
        defenders: Defenses outside of the network.
    """

    keeps: ClassVar[tuple[str, ...]] = ("adversary", "network", "defenders")

    adversary: Adversary
    network: Network
    defenders: Defenders

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
        secret: int | None = None,
    ) -> Comms:
        """The message layer, the adversary and the defenders of a team.

        Args:
            shape: Shape of the team.
            attacks: Attacks, in the order in which they act.
            defenses: Defenses.
            seed: Seed of the generators of each attack, the channels and the defenders.
            channels: As for ``Network``.
            codec: As for ``Network``.
            step_seconds: As for ``Network``.
            numbers: As for ``Network``.
            directory: Shape of the team's directory; None without a directory.
            transport: As for ``Network``.
            secret: Seed of the keys and of the guards' own draws, which attacks should not be able to compute; None for
                ``seed``.

        Raises:
            ValueError: If a part does not fit the team.
        """
        adversary = Adversary(attacks, shape, seed, directory, secret)
        guards = adversary.message_guards
        parts = (shape, guards, defenses, seed, channels, codec, step_seconds, numbers, transport, secret)
        network = Network(*parts)
        return cls(adversary, network, Defenders(network.defenses, network.memories, shape, seed, directory))

    def on_action(
        self,
        logits: Tensor,
        action: Tensor,
        noise: Tensor | None,
        step: Tensor,
        rows: Tensor,
        alive: Tensor | None = None,
    ) -> Tensor:
        """The actions [R, ...] to execute: those of the policy, unless an attack overrides them, and then a defense.

        Args:
            logits: [R, P] parameters of the policy.
            action: [R, ...] actions of the policy.
            noise: Noise with which actions were sampled; None for greedy actions.
            step: [B] int64.
            rows: [R] int64, the agents, as world * N + agent.
            alive: [B, N] bool, present members; None for all.
        """
        action, overruled = self.adversary.on_action(logits, action, noise, step, rows, alive)
        if not overruled and not self.defenders.supervising:
            return action
        supervised = self.defenders.on_action(logits, action, noise, step, rows, self.network.numbers)
        self.adversary.settle(overruled, *supervised)
        return supervised.action

    def reset(self, worlds: Tensor) -> None:
        """Reset the given worlds ([W] indices) for new episodes; counters continue."""
        self.adversary.reset(worlds)
        self.network.reset(worlds)

    def close(self) -> None:
        """End what the network's transport has started."""
        self.network.close()
