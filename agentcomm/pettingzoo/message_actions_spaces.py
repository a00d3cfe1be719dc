"""Spaces of environments with messages: as dictionaries, or flat for learners with inputs and outputs of fixed size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from gymnasium.spaces.utils import flatten, flatten_space

from agentcomm.base.errors import ConfigError
from agentcomm.pettingzoo.message_actions_inbox import Array, Messages, Received, Symbols, inbox_space
from agentcomm.pettingzoo.spaces import MASK


class NestedSpaces:
    """Dictionaries: observations with ``observation`` and ``inbox``, actions with ``action`` and ``message``.

    Args:
        agent: The agent, for errors.
        observation: Its own observation space.
        action: Its own action space.
        messages: What messages are.
        rows: K, rows of an inbox.
        agents: N.

    Attributes:
        observation: Space of observations with an inbox.
        action: Space of actions with a message.
        message: Space of messages.
    """

    observation: Space[Any]
    action: Space[Any]

    def __init__(
        self, agent: Any, observation: Space[Any], action: Space[Any], messages: Messages, rows: int, agents: int
    ) -> None:
        self.agent, self.messages, self.message = agent, messages, messages.space
        self.observation = Dict({"observation": observation, "inbox": inbox_space(messages, rows, agents)})
        self.action = Dict({"action": action, "message": self.message})

    def join(self, observation: Any, received: Received) -> Any:
        """An observation with an inbox."""
        mask, sender = np.asarray(received.mask, np.int8), np.asarray(received.sender, np.int64)
        inbox = {"payload": received.payload, "mask": mask, "sender": sender}
        return {"observation": observation, "inbox": inbox}

    def mask(self, observation: Any, info: Mapping[str, Any]) -> Array | None:
        """The mask of actions for ``infos``, if it has another form than in the environment; None if it has not."""
        return None

    def split(self, action: Any) -> tuple[Any, Array]:
        """The agent's own action, and its message.

        Raises:
            ValueError: If there is no message of the right kind.
        """
        if not (isinstance(action, dict) and {"action", "message"} <= set(action)):
            raise ValueError(f"the action of agent {self.agent!r} must be a dict with 'action' and 'message'")
        return action["action"], self._message(action["message"])

    def _message(self, message: Any) -> Array:
        given = np.asarray(message)
        if given.shape != self.message.shape or not self.messages.holds(given):
            raise ValueError(f"the message of agent {self.agent!r} is {message!r:.60}, not in {self.message}")
        return given


class FlatSpaces(NestedSpaces):
    """One ``Box`` for observations, and one ``MultiDiscrete`` or one ``Box`` for actions; arguments as its base.

    Action masks, which a ``Box`` has no place for, go to ``infos``: one vector over the options of the action and all
    messages, one after the other, as maskable learners take it for a ``MultiDiscrete``.

    Raises:
        ConfigError: If own actions and messages are not both discrete or both continuous.
    """

    def __init__(
        self, agent: Any, observation: Space[Any], action: Space[Any], messages: Messages, rows: int, agents: int
    ) -> None:
        super().__init__(agent, observation, action, messages, rows, agents)
        self._masked = isinstance(observation, Dict) and set(observation) == {"observation", MASK}
        self._seen, self._does = observation["observation"] if self._masked else observation, action
        low, high = _bounds(agent, self._seen)
        rest = rows * (1 + agents + 1)
        top = 1.0 if isinstance(messages, Symbols) else messages.limit
        size = rows * messages.width
        self.observation = Box(
            np.concatenate([low, np.full(size, messages.low), np.zeros(rest)]).astype(np.float32),
            np.concatenate([high, np.full(size, top), np.ones(rest)]).astype(np.float32),
            dtype=np.float32,
        )
        self.action = self._actions(action)

    def _actions(self, own: Space[Any]) -> Space[Any]:
        symbols = isinstance(self.messages, Symbols)
        if symbols and isinstance(own, Discrete):
            return MultiDiscrete([int(own.n), int(self.message.n)])
        if symbols and isinstance(own, MultiDiscrete) and not np.any(own.start):
            return MultiDiscrete([*own.nvec.ravel(), int(self.message.n)])
        if not symbols and isinstance(own, Box) and own.dtype.kind == "f":
            said = self.message
            assert isinstance(said, Box)
            low, high = (np.concatenate([getattr(own, side).ravel(), getattr(said, side)]) for side in ("low", "high"))
            return Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
        fit = "Vectors(...)" if isinstance(own, Box) else "Symbols(...)"
        raise ConfigError(
            f"agent {self.agent!r} has the actions {own}, which with {type(self.messages).__name__} as messages form no"
            f" flat space: choose messages={fit}, or flat=False, which gives dictionaries"
        )

    def mask(self, observation: Any, info: Mapping[str, Any]) -> Array | None:
        """[A + symbols] int8, from the observation or from ``infos``, where a multi-discrete mask is a tuple."""
        given = observation[MASK] if self._masked else info.get(MASK)
        if given is None or not isinstance(self.action, MultiDiscrete):
            return None
        parts = given if isinstance(given, tuple) else (given,)
        said = np.ones(int(self.message.n), np.int8)
        return np.concatenate([*(np.asarray(part, np.int8).ravel() for part in parts), said])

    def join(self, observation: Any, received: Received) -> Array:
        """[W] float32, an observation with an inbox."""
        observation = observation["observation"] if self._masked else observation
        seen = np.asarray(observation) if isinstance(self._seen, Box) else flatten(self._seen, observation)
        return received.flat(np.asarray(seen, np.float32).ravel())

    def split(self, action: Any) -> tuple[Any, Array]:
        """The agent's own action, and its message.

        Raises:
            ValueError: If the action has the wrong length or type.
        """
        given = np.asarray(action)
        kinds = "iu" if isinstance(self.action, MultiDiscrete) else "fiu"
        if given.shape != self.action.shape or given.dtype.kind not in kinds:
            raise ValueError(f"the action of agent {self.agent!r} is {action!r:.60}, not in {self.action}")
        if isinstance(self._does, Box):
            size = len(given) - self.messages.width
            return given[:size].astype(self._does.dtype).reshape(self._does.shape), self._message(given[size:])
        own = given[:-1].reshape(self._does.shape or ())
        if isinstance(self._does, Discrete):
            return int(self._does.start + own), self._message(given[-1])
        return own, self._message(given[-1])


def _bounds(agent: Any, space: Space[Any]) -> tuple[Array, Array]:
    """Smallest and largest values of flattened observations.

    Raises:
        ConfigError: If they have no fixed size.
    """
    if not getattr(space, "is_np_flattenable", False):
        raise ConfigError(
            f"agent {agent!r} has the observation space {space}, which has no vector of fixed size: wrap the"
            " environment so that it returns a Box, or choose flat=False"
        )
    flat = flatten_space(space)
    assert isinstance(flat, Box)
    return flat.low, flat.high
