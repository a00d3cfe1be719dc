"""Stage: one step of the processing of an exchange.

A stage is called with an :class:`~agentcomm.network.exchange.Exchange` and changes it in place. What it keeps from one
exchange to the next is its state, which is saved, restored, and reset per world.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from agentcomm.base.state import State
from agentcomm.network.exchange import Exchange


class Stage(State, ABC):
    """One step of the processing of an exchange."""

    @abstractmethod
    def __call__(self, x: Exchange) -> None:
        """Change the exchange in place."""

    def reset(self, worlds: Tensor) -> None:
        """Reset the state of the given worlds ([W] indices); most stages have none."""
        return None
