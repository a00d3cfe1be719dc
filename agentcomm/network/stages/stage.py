"""Stage: one step of the processing of an exchange.

A stage is called with an :class:`~agentcomm.network.exchange.Exchange` and changes it in place. What it keeps from one
exchange to the next is its state, which is saved, restored, and reset per world.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from agentcomm.base.state import DrawingMemory, Memory, State
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.verdicts import Draws
from agentcomm.network.exchange import Exchange


class Stage(State, ABC):
    """One step of the processing of an exchange."""

    @abstractmethod
    def __call__(self, x: Exchange) -> None:
        """Change the exchange in place."""

    def reset(self, worlds: Tensor) -> None:
        """Reset the state of the given worlds ([W] indices); most stages have none."""
        return None


class DefenseStage(Stage):
    """A stage that calls one hook of a defense.

    Args:
        defense: The defense.
        memory: Its memory, which its other hooks share; the network resets and saves it.
    """

    def __init__(self, defense: Defense, memory: Memory) -> None:
        self.defense, self.memory = defense, memory
        self.who = f"defense {defense.name!r}"
        self.draws = draws_of(defense, memory)


def draws_of(defense: Defense, memory: Memory) -> Draws:
    """The random numbers of a defense that has this memory."""
    generator = memory.generator if isinstance(memory, DrawingMemory) else None
    return Draws(generator, defense.team_shape.device, defense.name)
