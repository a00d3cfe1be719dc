"""Action spaces of a world as Gymnasium spaces, one per agent."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.spaces import Discrete as GymDiscrete
from gymnasium.spaces import MultiDiscrete as GymMultiDiscrete

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.continuous import Continuous
from agentcomm.contracts.discrete import Discrete, MultiDiscrete


def action_spaces(space: ActionSpace, agents: int) -> list[Any]:
    """The Gymnasium space of each agent, without padding."""
    if isinstance(space, Discrete):
        return [GymDiscrete(size) for size in space.sizes or (space.parameters,) * agents]
    if isinstance(space, MultiDiscrete):
        return [GymMultiDiscrete(sizes) for sizes in space.sizes or (space.components,) * agents]
    assert isinstance(space, Continuous)
    low, high = np.array(space.low, np.float32), np.array(space.high, np.float32)
    sizes = space.dimensions or (len(low),) * agents
    return [Box(low[:size], high[:size], dtype=np.float32) for size in sizes]


def mask_space(space: Any) -> Box:
    """The space of an action mask of a ``Discrete`` space, as PettingZoo has it: an int8 vector."""
    return Box(0, 1, (int(space.n),), np.int8)
