"""PettingZoo parallel environments as worlds, at the speed of their Python code."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from pydantic import Field
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.contracts.world import DrawnMessage, Observation, Transition, World, WorldConfig


class ParallelWorldConfig(WorldConfig):
    """Arguments of a world made of third-party parallel environments."""

    make: str = Field("", description="function that creates an environment: package.module:function")
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of that function")
    max_steps: int = Field(1000, ge=1, description="steps after which an episode is truncated")


class ParallelWorld(World[ParallelWorldConfig]):
    """B parallel environments with box observations and discrete actions, stepped one after the other.

    Observations are flattened and padded with zeros to the widest. An agent with fewer actions than the widest action
    space takes the action modulo its own number of actions. Agents that have left are inactive, with zero observation
    and reward. An episode ends when the last agent leaves: terminated, unless that agent was truncated. ``infos`` may
    contain ``active`` and ``success`` like those of :class:`ParallelView`; without them, agents are active while they
    are listed, and termination counts as success.

    Such environments cannot save their state: :meth:`restore` starts new episodes from the saved generator.
    """

    def __init__(
        self,
        config: ParallelWorldConfig,
        num_worlds: int = 1,
        device: str | torch.device = "cpu",
        factory: Callable[[], Any] | None = None,
    ) -> None:
        """Create the environments.

        Args:
            config: Arguments.
            num_worlds: B.
            device: Device of the tensors.
            factory: Creates one environment; used instead of ``config.make``.

        Raises:
            ConfigError: If no function to create environments is given, or their spaces are not supported.
        """
        super().__init__(config, num_worlds, device)
        if config.observation != "dense":
            raise ConfigError("third-party environments support observation='dense' only")
        make = factory or _maker(config)
        self._envs = [make() for _ in range(num_worlds)]
        self.agents = tuple(str(agent) for agent in self._envs[0].possible_agents)
        self._names = list(self._envs[0].possible_agents)
        boxes = [self._envs[0].observation_space(name) for name in self._names]
        self._choices = [self._envs[0].action_space(name) for name in self._names]
        for name, box, choice in zip(self._names, boxes, self._choices, strict=True):
            if not isinstance(box, Box) or not isinstance(choice, Discrete):
                raise ConfigError(f"agent {name!r} must have a Box and a Discrete space, not {box} and {choice}")
        self.layout = Observation(
            "dense",
            max(int(np.prod(box.shape)) for box in boxes),
            low=min(0.0, *(float(box.low.min()) for box in boxes)),
            high=max(0.0, *(float(box.high.max()) for box in boxes)),
        )
        self.action_names = tuple(str(action) for action in range(max(int(choice.n) for choice in self._choices)))
        self._seen = np.zeros((num_worlds, len(self._names), self.layout.width), np.float32)
        self._success = np.zeros(num_worlds, bool)

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Reset the environments, each with a seed from the generator and the scene as its options."""
        seeds = torch.randint(2**31, (len(worlds),), generator=generator, device=self.device)
        for world, seed in zip(worlds.tolist(), seeds.tolist(), strict=True):
            observations, _ = self._envs[world].reset(seed=seed, options=dict(scene) if scene else None)
            self._see(world, observations)
            self._success[world] = False

    def _see(self, world: int, observations: Mapping[Any, Any]) -> None:
        self._seen[world] = 0
        for index, name in enumerate(self._names):
            if name in observations:
                flat = np.ravel(observations[name])
                self._seen[world, index, : len(flat)] = flat

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Step every environment whose episode is running."""
        joint = actions.cpu().numpy()
        reward = np.zeros(joint.shape, np.float32)
        active = np.zeros(joint.shape, bool)
        terminated = np.zeros(len(joint), bool)
        truncated = np.zeros(len(joint), bool)
        for world, env in enumerate(self._envs):
            live = [(i, name) for i, name in enumerate(self._names) if name in env.agents]
            if not live:
                continue
            chosen = {name: self._choices[i].start + joint[world, i] % self._choices[i].n for i, name in live}
            observations, rewards, terminations, truncations, infos = env.step(chosen)
            self._see(world, observations)
            for i, name in live:
                reward[world, i] = rewards.get(name, 0.0)
                active[world, i] = infos.get(name, {}).get("active", True)
            if not env.agents:
                # An agent may be both terminated and truncated; termination takes precedence.
                by_rule = all(terminations.get(name, False) for _, name in live)
                terminated[world] = by_rule or not any(truncations.values())
                truncated[world] = not terminated[world]
            self._success[world] = all(infos.get(name, {}).get("success", terminated[world]) for _, name in live)
        return Transition(
            reward=torch.as_tensor(reward, device=self.device),
            terminated=torch.as_tensor(terminated, device=self.device),
            active=torch.as_tensor(active, device=self.device),
            truncated=torch.as_tensor(truncated, device=self.device),
        )

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, O] float32, zero where an agent has left."""
        seen = self._seen if worlds is None else self._seen[worlds.cpu().numpy()]
        return torch.tensor(seen, device=self.device)

    def success(self) -> Tensor:
        """[B] bool, from ``infos`` or, without it, whether the episode terminated."""
        return torch.tensor(self._success, device=self.device)

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """The environment's rendering in its own render mode; links are drawn if it has a ``show`` method."""
        env = self._envs[world]
        if links and hasattr(env, "show"):
            env.show(links)
        return env.render()

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Start new episodes, drawn from the saved generator."""
        super().restore(saved)
        self.reset()


def _maker(config: ParallelWorldConfig) -> Callable[[], Any]:
    module, colon, function = config.make.partition(":")
    if not (module and colon and function):
        raise ConfigError(f"make must be 'package.module:function', not {config.make!r}")
    try:
        maker = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"make: {config.make!r} cannot be imported: {error}") from error
    return lambda: maker(**config.arguments)
