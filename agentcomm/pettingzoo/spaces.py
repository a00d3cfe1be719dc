"""Spaces of an agent in a third-party environment: observations as vectors, actions as numbers, both ways checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.spaces.utils import flatten, flatten_space

from agentcomm.base.errors import ConfigError

Kind = Literal["discrete", "multi_discrete", "continuous"]
MASK = "action_mask"
# Numbers in the flattened observation of an agent, at most: an image of 64 x 64 pixels in four colors, for example.
LARGEST = 2**14


class AgentSpaces:
    """The spaces of one agent.

    Observations are flattened as Gymnasium does. Images, which are ``uint8`` boxes of two dimensions or more, are
    scaled to 0 .. 1. A dictionary's key ``action_mask`` is the mask of the agent's actions and not part of what it
    observes.

    Args:
        agent: The agent, for messages.
        observation: Its observation space.
        action: Its action space.

    Attributes:
        low: [width] float32, smallest values of the flattened observation.
        high: [width] float32, largest values.
        kind: Kind of its actions.
        sizes: Number of options per dimension of a discrete action; one dimension for ``Discrete``.
        action_low: [D] float32, smallest values of a continuous action.
        action_high: [D] float32, largest values.
        masked: Whether masks come with observations.

    Raises:
        ConfigError: If a space is not supported; the message says how to convert it.
    """

    def __init__(self, agent: str, observation: Any, action: Any) -> None:
        self.masked = isinstance(observation, Dict) and MASK in observation.spaces
        self._whole, self._space = observation, _without_mask(observation) if self.masked else observation
        _check_observation_space(agent, self._space)
        flat = flatten_space(self._space)
        assert isinstance(flat, Box)
        self._scale = None if (scale := _scale(self._space)).min() == 1 else scale
        with np.errstate(over="ignore"):  # bounds beyond float32 are no bounds
            self.low, self.high = ((bound * scale).astype(np.float32) for bound in (flat.low, flat.high))
        self._boxed = isinstance(self._space, Box)
        self._shape = self._space.shape if self._boxed else (self.width,)
        self._read_actions(agent, action)

    @property
    def width(self) -> int:
        """Numbers in the flattened observation."""
        return len(self.low)

    @property
    def plain(self) -> bool:
        """Whether the environment's actions are numbers from 0."""
        return self.kind == "discrete" and self._start == 0

    def _read_actions(self, agent: str, action: Any) -> None:
        self._action = action
        self.sizes: tuple[int, ...] = ()
        self.action_low = self.action_high = np.zeros(0, np.float32)
        if isinstance(action, Discrete):
            self.kind: Kind = "discrete"
            self.sizes, self._start = (int(action.n),), int(action.start)
        elif isinstance(action, MultiDiscrete | MultiBinary) and len(action.shape) == 1:
            self.kind = "multi_discrete"
            sizes = action.nvec.tolist() if isinstance(action, MultiDiscrete) else [2] * action.shape[0]
            self.sizes, self._start = tuple(sizes), getattr(action, "start", 0)
        elif isinstance(action, Box) and action.dtype.kind == "f":
            self.kind = "continuous"
            self.action_low, self.action_high = (b.ravel().astype(np.float32) for b in (action.low, action.high))
        else:
            raise ConfigError(f"{agent} has the action space {action}, which is not supported: {_how(action)}")

    def action(self, chosen: Any) -> Any:
        """The environment's action.

        Args:
            chosen: A number from 0 if discrete; [K] numbers from 0 if multi-discrete; [D] numbers if continuous.
                Further dimensions, which other agents have, are ignored.
        """
        if self.kind == "discrete":
            return self._start + (chosen if isinstance(chosen, int) else int(chosen[0]))
        if self.kind == "multi_discrete":
            return (self._start + np.asarray(chosen[: len(self.sizes)])).astype(self._action.dtype)
        space = self._action
        value = np.asarray(chosen[: len(self.action_low)], space.dtype).reshape(space.shape)
        return np.clip(value, space.low, space.high)  # bounds that float32 rounded outwards

    def first(self) -> Any:
        """Some action, for an agent that no longer acts."""
        return self.action(self.action_low if self.kind == "continuous" else [0] * len(self.sizes))

    def shaped(self, row: np.ndarray) -> np.ndarray:
        """The part of a row [O] that this agent's observation fills, in the shape of the observation."""
        return row[: self.width].reshape(self._shape)

    def write(self, observation: Any, place: np.ndarray) -> None:
        """Write an observation into what :meth:`shaped` returned.

        Raises:
            ValueError: If it does not have the shape or type of the space. Bounds of a ``Box`` are not checked.
        """
        if self.masked:
            observation = self._unmasked(observation)
        if self._boxed:
            value = observation if isinstance(observation, np.ndarray) else np.asarray(observation)
            if value.shape != self._shape or value.dtype.kind not in "biuf":
                raise ValueError(f"the observation {_shown(value)} is not in its space {self._space}")
        else:
            if not self._space.contains(observation):
                raise ValueError(f"the observation {_shown(observation)} is not in its space {self._space}")
            value = np.asarray(flatten(self._space, observation))
        if value.dtype == np.float64:
            with np.errstate(over="ignore"):  # what does not fit float32 is infinite, and rejected as such
                place[...] = value
        else:
            place[...] = value
        if self._scale is not None:
            place *= self._scale.reshape(self._shape)

    def _unmasked(self, observation: Any) -> Any:
        """An observation without its mask."""
        if not isinstance(observation, Mapping):
            raise ValueError(f"the observation {_shown(observation)} is not in its space {self._whole}")
        rest = {name: value for name, value in observation.items() if name != MASK}
        if isinstance(self._space, Dict):
            return rest
        if len(rest) != 1:
            raise ValueError(f"the observation {_shown(observation)} is not in its space {self._whole}")
        return next(iter(rest.values()))

    def mask(self, given: Any) -> np.ndarray:
        """[size] bool, allowed actions of an agent with a discrete action.

        Raises:
            ValueError: If it is no mask for its actions, or allows none.
        """
        if self.kind != "discrete":
            raise ValueError(f"a mask for the action space {self._action}; only masks for Discrete ones are supported")
        value = np.asarray(given)
        if value.shape != self.sizes or value.dtype.kind not in "biuf":
            raise ValueError(f"the {MASK} {_shown(value)} is none for {self.sizes[0]} actions")
        allowed = value.astype(bool)
        if not allowed.any():
            raise ValueError(f"its {MASK} allows no action")
        return allowed


def _without_mask(space: Dict) -> Any:
    """The space of observations without the mask; that of the only other entry if there is one."""
    rest = {name: inner for name, inner in space.spaces.items() if name != MASK}
    return next(iter(rest.values())) if len(rest) == 1 else Dict(rest)


def _is_image(space: Any) -> bool:
    return isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) > 1


def _scale(space: Any) -> np.ndarray:
    """[width] factors of a flattened observation: 1/255 for pixels, and 1 for everything else."""
    if isinstance(space, Dict):
        return np.concatenate([_scale(inner) for inner in space.spaces.values()])
    if isinstance(space, Tuple):
        return np.concatenate([_scale(inner) for inner in space.spaces])
    return np.full(flatten_space(space).shape, np.float32(1 / 255 if _is_image(space) else 1))


def _check_observation_space(agent: str, space: Any) -> None:
    if not getattr(space, "is_np_flattenable", False):
        raise ConfigError(
            f"{agent} has the observation space {space}, which has no vector of fixed size: wrap the"
            f" environment so that it returns a Box"
        )
    width = int(np.prod(flatten_space(space).shape))
    if width > LARGEST:
        resize = " (supersuit: resize_v1, color_reduction_v0)" if _is_image(space) else ""
        raise ConfigError(
            f"{agent} observes {width:,} numbers, and {LARGEST:,} are the most; the testbed's policies take"
            f" vectors. Wrap the environment so that it returns features or smaller images{resize}"
        )


def _how(action: Any) -> str:
    """How to convert an action space to a supported one."""
    if isinstance(action, Box):
        return "return MultiDiscrete for whole numbers in a wrapper"
    return "return Discrete, a one-dimensional MultiDiscrete or MultiBinary, or Box in a wrapper"


def _shown(observation: Any) -> str:
    """Type, shape and dtype of an observation, for messages."""
    if isinstance(observation, Mapping):
        return f"with the keys {', '.join(map(str, observation))}"
    if isinstance(observation, np.ndarray):
        return f"of shape {observation.shape} and type {observation.dtype}"
    return f"{observation!r:.60} of type {type(observation).__name__}"
