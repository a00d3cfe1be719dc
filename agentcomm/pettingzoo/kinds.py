"""Third-party environments of all supported kinds as PettingZoo parallel environments, and what creates them."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Tuple
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import aec_to_parallel

from agentcomm.base.calling import described
from agentcomm.base.errors import ConfigError, HookError
from agentcomm.base.modules import find_module, home_of


@dataclass(frozen=True)
class Recipe:
    """What creates an environment; it can be sent to another process.

    Attributes:
        kind: ``function`` for a function or class ``package.module:function``, ``gymnasium`` for an id.
        make: The function, or the id.
        arguments: Keyword arguments.
    """

    kind: Literal["function", "gymnasium"]
    make: str
    arguments: dict[str, Any]

    def maker(self) -> Callable[[], Any]:
        """The function without arguments that creates an environment.

        Raises:
            ConfigError: If it cannot be found.
            HookError: If the import of its module failed.
        """
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of imported packages, which the user cannot fix
            made = self._found()
        return lambda: _quietly(lambda: made(**self.arguments))

    def _found(self) -> Callable[..., Any]:
        module, _, name = self.make.rpartition(":")
        if self.kind == "gymnasium":
            if module:
                _module(module, self.make)
            try:
                spec = gymnasium.spec(name)
            except gymnasium.error.Error as error:
                hint = "" if module else "; name the package that registers it: package:id"
                raise ConfigError(f"make: {self.make!r} is no environment of Gymnasium: {error}{hint}") from None
            # The checker warns of tuples, which are what makes an environment one of several agents.
            return lambda **arguments: gymnasium.make(spec, **{"disable_env_checker": True} | arguments)
        if not (module and name):
            raise ConfigError(f"make must be 'package.module:function', not {self.make!r}")
        try:
            found: Callable[..., Any] = getattr(_module(module, self.make), name)
        except AttributeError as error:
            raise ConfigError(f"make: {self.make!r} cannot be imported: {error}") from error
        return found


def _module(name: str, make: str) -> Any:
    """A module, which may be in the working directory."""
    file = find_module(name)
    if file is not None and (home := str(home_of(name, file))) not in sys.path:
        sys.path.append(home)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"make: {make!r} cannot be imported: {error}") from error
    except Exception as error:
        raise HookError(f"make: the import of {name!r} failed: {described(error)}") from error


def _quietly(make: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


class TupleEnv(ParallelEnv):  # type: ignore[misc]  # PettingZoo's generics are not typed for mypy
    """A Gymnasium environment of several agents, whose spaces are tuples with an entry per agent.

    Agents are named ``agent_0``, ``agent_1`` and so on. Rewards and both flags may be one for all agents.

    Args:
        env: The environment.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self.env, self.metadata, self.render_mode = env, env.metadata, env.render_mode
        self.possible_agents = [f"agent_{i}" for i in range(len(env.action_space))]
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Any:
        """The agent's entry."""
        return self.env.observation_space[self.possible_agents.index(agent)]

    def action_space(self, agent: str) -> Any:
        """The agent's entry."""
        return self.env.action_space[self.possible_agents.index(agent)]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Start an episode."""
        observations, info = self.env.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        return self._by_agent(observations), dict.fromkeys(self.agents, info)

    def step(self, actions: Mapping[str, Any]) -> tuple[Any, ...]:
        """Take one step; all agents are listed until the last one is terminated or truncated, and need an action."""
        names = self.possible_agents
        observations, reward, terminated, truncated, info = self.env.step(tuple(map(actions.__getitem__, names)))
        terminations, truncations = self._by_agent(terminated), self._by_agent(truncated)
        ended = any(terminations.values()) or any(truncations.values())  # a fast check, as it is seldom so
        if ended and all(terminations[agent] or truncations[agent] for agent in names):
            self.agents = []
        infos = dict.fromkeys(names, info)
        return self._by_agent(observations), self._by_agent(reward), terminations, truncations, infos

    def _by_agent(self, values: Any) -> dict[str, Any]:
        """Values of a sequence by agent, or one value for all agents."""
        if type(values) is bool:  # the usual flag, fast
            return dict.fromkeys(self.possible_agents, values)
        if isinstance(values, tuple | list) or np.ndim(values):
            return dict(zip(self.possible_agents, values, strict=True))
        return dict.fromkeys(self.possible_agents, values)

    def render(self) -> Any:
        """The environment's rendering."""
        return self.env.render()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def as_parallel(env: Any, what: str) -> Any:
    """An environment as a parallel one, if it is of a kind that can be converted.

    Args:
        env: A PettingZoo environment, parallel or turn-based, or a Gymnasium one with tuple spaces.
        what: The environment, for messages.

    Raises:
        ConfigError: If it is of another kind; the message says how to convert it.
    """
    if isinstance(env, AECEnv):
        if not env.metadata.get("is_parallelizable", False):
            raise ConfigError(
                f"{what} is a turn-based (AEC) environment in which the order of turns matters (its metadata lack"
                f" is_parallelizable), but the agents of the testbed act at the same time: use an environment of"
                f" simultaneous actions, or one whose metadata say is_parallelizable"
            )
        return aec_to_parallel(env)
    if isinstance(env, gymnasium.Env):
        spaces = env.observation_space, env.action_space
        if not all(isinstance(space, Tuple) for space in spaces) or len(spaces[0]) != len(spaces[1]):
            raise ConfigError(
                f"{what} is a Gymnasium environment with the spaces {spaces[0]} and {spaces[1]}; those of an"
                f" environment of several agents are tuples with an entry per agent, or dictionaries by agent in a"
                f" PettingZoo ParallelEnv: wrap it in one"
            )
        return TupleEnv(env)
    missing = [name for name in ("possible_agents", "reset", "step") if not hasattr(env, name)]
    if missing:
        raise ConfigError(
            f"{what} is a {type(env).__name__} without {', '.join(missing)}; a PettingZoo ParallelEnv is needed, with"
            f" all agents in possible_agents"
        )
    return env
