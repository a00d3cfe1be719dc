"""VMAS as PettingZoo environments, one world each. It needs the extra ``vmas``, whose license is the GPLv3.

``agentcomm train --env pettingzoo:agentcomm.pettingzoo.vmas:parallel_env,arguments.scenario=discovery``
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from pettingzoo import ParallelEnv


class VMASEnv(ParallelEnv):  # type: ignore[misc]  # PettingZoo's generics are not typed for mypy
    """One world of a scenario of VMAS; its episodes have no time limit but that of the testbed.

    Args:
        scenario: Name of the scenario.
        continuous: Whether actions are continuous.
        arguments: Arguments of the scenario.
    """

    def __init__(self, scenario: str, continuous: bool = False, **arguments: Any) -> None:
        with redirect_stderr(StringIO()):  # the old Gym that it imports says that it is old
            vmas = importlib.import_module("vmas")
        self.metadata = {"name": f"vmas_{scenario}"}
        self.env = vmas.make_env(scenario=scenario, num_envs=1, continuous_actions=continuous, **arguments)
        self.possible_agents = [agent.name for agent in self.env.agents]
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Box:
        """The agent's vector."""
        space = self.env.observation_space[self.possible_agents.index(agent)]
        return Box(space.low, space.high, space.shape, np.float32)

    def action_space(self, agent: str) -> Box | Discrete | MultiDiscrete:
        """The agent's forces, or numbers for them."""
        space = self.env.action_space[self.possible_agents.index(agent)]
        if hasattr(space, "low"):
            return Box(space.low, space.high, space.shape, np.float32)
        return MultiDiscrete(space.nvec) if hasattr(space, "nvec") else Discrete(space.n)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Start an episode."""
        observations = self.env.reset(seed=seed)
        self.agents = list(self.possible_agents)
        return self._by_agent(observations), {agent: {} for agent in self.agents}

    def step(self, actions: Mapping[str, Any]) -> tuple[Any, ...]:
        """Take one step."""
        joint = [torch.as_tensor(np.atleast_1d(actions[agent])).unsqueeze(0) for agent in self.possible_agents]
        observations, rewards, done, _ = self.env.step(joint)
        over = bool(done[0])
        if over:
            self.agents = []
        earned = {agent: float(reward[0]) for agent, reward in zip(self.possible_agents, rewards, strict=True)}
        terminated, truncated = dict.fromkeys(earned, over), dict.fromkeys(earned, False)
        return self._by_agent(observations), earned, terminated, truncated, {agent: {} for agent in earned}

    def _by_agent(self, observations: Any) -> dict[str, np.ndarray]:
        return {agent: seen[0].numpy() for agent, seen in zip(self.possible_agents, observations, strict=True)}

    def render(self) -> Any:
        """The world as an image."""
        return self.env.render(mode="rgb_array")


def parallel_env(**arguments: Any) -> VMASEnv:
    """A world with these arguments."""
    return VMASEnv(**arguments)
