"""Spaces of a third-party parallel environment: which ones a world can use, and how to convert the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from gymnasium.spaces.utils import flatten, flatten_space
from pettingzoo import AECEnv

from agentcomm.base.errors import ConfigError

NO_MASKS = (
    "offers an action mask, which the testbed would have to ignore: wrap the environment so that forbidden actions do"
    " nothing and no action_mask is returned"
)


class AgentSpaces:
    """The spaces of one agent: its observations as vectors, and its actions by number.

    Args:
        agent: The agent, for messages.
        observation: Its observation space. Everything that Gymnasium flattens to a vector of fixed size is supported,
            except images.
        action: Its action space, a ``Discrete``.

    Attributes:
        low: [width] float32, smallest values of the flattened observation.
        high: [width] float32, largest values.
        actions: Number of actions.

    Raises:
        ConfigError: If a space is not supported; the message says how to convert it.
    """

    def __init__(self, agent: str, observation: Any, action: Any) -> None:
        self._space = observation
        _check_observation_space(agent, observation)
        if not isinstance(action, Discrete):
            raise ConfigError(f"{agent} has the action space {action}, not a Discrete one: {_how(action)}")
        flat = flatten_space(observation)
        assert isinstance(flat, Box)
        with np.errstate(over="ignore"):  # bounds beyond float32 are no bounds
            self.low, self.high = flat.low.astype(np.float32), flat.high.astype(np.float32)
        self.actions, self._first = int(action.n), action.start

    @property
    def width(self) -> int:
        """Entries of the flattened observation."""
        return len(self.low)

    def action(self, number: int) -> Any:
        """The action with this number, modulo the agent's own number of actions."""
        return self._first + number % self.actions

    def vector(self, observation: Any) -> np.ndarray:
        """[width] the flattened observation.

        Raises:
            ValueError: If it does not have the shape or type of the space. Bounds of a ``Box`` are not checked.
        """
        if not isinstance(self._space, Box):
            if not self._space.contains(observation):
                raise ValueError(f"the observation {_shown(observation)} is not in its space {self._space}")
            return np.asarray(flatten(self._space, observation))
        value = np.asarray(observation)
        if value.shape != self._space.shape or value.dtype.kind not in "biuf":
            raise ValueError(f"the observation {_shown(value)} is not in its space {self._space}")
        return value.ravel()


def check_kind(env: Any, what: str) -> None:
    """Check that an object is a parallel environment.

    Raises:
        ConfigError: If it is of another kind; the message says how to convert it.
    """
    if isinstance(env, AECEnv):
        raise ConfigError(
            f"{what} is a turn-based (AEC) environment; a parallel one is needed. Return"
            f" pettingzoo.utils.conversions.aec_to_parallel(env), or the package's own parallel_env()"
        )
    if isinstance(env, gymnasium.Env):
        raise ConfigError(
            f"{what} is a Gymnasium environment; a PettingZoo ParallelEnv is needed. Wrap it in one whose reset and"
            f" step use dictionaries with an entry per agent"
        )
    missing = [name for name in ("possible_agents", "reset", "step") if not hasattr(env, name)]
    if missing:
        raise ConfigError(
            f"{what} is a {type(env).__name__} without {', '.join(missing)}; a PettingZoo ParallelEnv is needed, with"
            f" all agents in possible_agents"
        )


def _check_observation_space(agent: str, space: Any) -> None:
    if isinstance(space, Dict) and "action_mask" in space.spaces:
        raise ConfigError(f"{agent} {NO_MASKS}")
    if isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) > 1:
        raise ConfigError(
            f"{agent} observes images of shape {space.shape}; the testbed's policies take vectors. Wrap the"
            f" environment so that it returns features, or small images as floats (supersuit: resize_v1, dtype_v0,"
            f" normalize_obs_v0)"
        )
    if not getattr(space, "is_np_flattenable", False):
        raise ConfigError(
            f"{agent} has the observation space {space}, which has no vector of fixed size: wrap the"
            f" environment so that it returns a Box"
        )


def _how(action: Any) -> str:
    """How to convert an action space to a discrete one."""
    if isinstance(action, MultiDiscrete):
        count = int(np.prod(action.nvec))
        return f"number its combinations in a wrapper: Discrete({count}), decoded with np.unravel_index"
    if isinstance(action, Box):
        return "choose from a fixed list of actions in a wrapper: Discrete(len(ACTIONS)), decoded as ACTIONS[number]"
    return "number its actions in a wrapper"


def _shown(observation: Any) -> str:
    """Type, shape and dtype of an observation, for messages."""
    if isinstance(observation, Mapping):
        return f"with the keys {', '.join(map(str, observation))}"
    if isinstance(observation, np.ndarray):
        return f"of shape {observation.shape} and type {observation.dtype}"
    return f"{observation!r:.60} of type {type(observation).__name__}"
