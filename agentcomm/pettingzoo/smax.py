"""SMAX of JaxMARL, battles like those of StarCraft, as a PettingZoo environment. It needs the extra ``smax``.

``agentcomm train --env pettingzoo:agentcomm.pettingzoo.smax:parallel_env,arguments.scenario=3m``

Allies fight enemies that follow a heuristic. One that dies leaves; the episode ends when one side is dead, or after
``max_steps`` of SMAX. Success is a victory. The first step of a process compiles, which takes half a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jaxmarl
import numpy as np
from gymnasium.spaces import Box, Discrete
from jaxmarl.environments.smax import map_name_to_scenario
from pettingzoo import ParallelEnv

VICTORY = 1.0  # least reward of the step that wins


class SMAXEnv(ParallelEnv):  # type: ignore[misc]  # PettingZoo's generics are not typed for mypy
    """One battle.

    Args:
        scenario: Name of the map, such as ``3m`` or ``5m_vs_6m``.
        arguments: Further arguments of SMAX.
    """

    def __init__(self, scenario: str = "3m", **arguments: Any) -> None:
        self.metadata = {"name": f"smax_{scenario}"}
        self.env = jaxmarl.make("HeuristicEnemySMAX", scenario=map_name_to_scenario(scenario), **arguments)
        self.possible_agents = list(self.env.agents)
        self.agents: list[str] = []
        self._reset, self._step = jax.jit(self.env.reset), jax.jit(self.env.step_env)
        self._masks = jax.jit(self.env.get_avail_actions)
        self._key = jax.random.PRNGKey(0)

    def observation_space(self, agent: str) -> Box:
        """A vector; SMAX states no bounds that hold."""
        return Box(-np.inf, np.inf, self.env.observation_space(agent).shape, np.float32)

    def action_space(self, agent: str) -> Discrete:
        """Movements, and attacks on one of the enemies each."""
        return Discrete(self.env.action_space(agent).n)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Start a battle."""
        if seed is not None:
            self._key = jax.random.PRNGKey(seed)
        self._key, key = jax.random.split(self._key)
        seen, self._state = self._reset(key)
        self.agents = list(self.possible_agents)
        return self._observed(seen), self._infos()

    def step(self, actions: Mapping[str, int]) -> tuple[Any, ...]:
        """Take one step; dead allies do nothing."""
        self._key, key = jax.random.split(self._key)
        seen, self._state, rewards, dones, _ = self._step(key, self._state, dict(actions))
        won = max(map(float, rewards.values())) >= VICTORY
        over, late = bool(dones["__all__"]), int(self._state.state.step) >= self.env.max_steps
        dead = {agent: bool(dones[agent]) for agent in self.agents}
        if over:
            self.agents = []
        cut_off = over and late and not won
        terminated = {agent: dead[agent] or (over and not cut_off) for agent in dead}
        truncated = {agent: cut_off and not dead[agent] for agent in dead}
        infos = {agent: info | {"success": won} for agent, info in self._infos().items()}
        return self._observed(seen), {a: float(rewards[a]) for a in dead}, terminated, truncated, infos

    def _observed(self, seen: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {agent: np.asarray(seen[agent]) for agent in self.possible_agents}

    def _infos(self) -> dict[str, dict[str, Any]]:
        """The mask of each ally."""
        masks = self._masks(self._state)
        return {agent: {"action_mask": np.asarray(masks[agent], np.int8)} for agent in self.possible_agents}


def parallel_env(**arguments: Any) -> SMAXEnv:
    """A battle with these arguments."""
    return SMAXEnv(**arguments)
