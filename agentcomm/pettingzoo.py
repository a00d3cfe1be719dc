"""Worlds as PettingZoo parallel environments, and parallel environments as worlds.

:class:`ParallelView` shows one world (B = 1) to any PettingZoo tool. :class:`ParallelWorld` lets everything
built on :class:`~agentcomm.world.World` run on somebody else's environment, at the speed of its Python.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv
from pydantic import Field
from torch import Tensor

from agentcomm import registry
from agentcomm.errors import ConfigError
from agentcomm.world import DrawnMessage, Observation, Transition, World, WorldConfig

RenderMode = Literal["ansi", "rgb_array"] | None


class ParallelView(ParallelEnv):  # type: ignore[misc]  # PettingZoo's generics are not typed for mypy
    """One world as a PettingZoo ``ParallelEnv``.

    Agents stay until the episode ends, unless the world lets members fail: those are terminated and leave.
    ``infos[agent]`` has ``active`` (whether the agent's action counted in this step) and ``success`` (whether the
    task's goal is reached).

    Attributes:
        world: The world behind it, with one copy.
    """

    def __init__(self, world: World, name: str, render_mode: RenderMode = None) -> None:
        """Wrap a world.

        Args:
            world: A world of one copy with dense observations.
            name: The environment's name, shown with its version in ``metadata``.
            render_mode: What :meth:`render` returns: text ("ansi"), an [H, W, 3] picture ("rgb_array") or nothing.

        Raises:
            ValueError: If the world has several copies or no dense observation, or the mode is unknown.
        """
        if world.num_worlds != 1:
            raise ValueError(f"a PettingZoo view shows one world, not {world.num_worlds}")
        if world.layout.kind != "dense":
            raise ValueError("a PettingZoo view needs observation='dense', not 'indices'")
        if render_mode not in (None, "ansi", "rgb_array"):
            raise ValueError(f"render_mode must be 'ansi', 'rgb_array' or None, not {render_mode!r}")
        self.world = world
        self.render_mode = render_mode
        self.metadata = {
            "name": f"{name}_v{world.version}",
            "render_modes": ["ansi", "rgb_array"],
            "render_fps": 4,
            "is_parallelizable": True,
        }
        self.possible_agents = list(world.agents)
        self.agents: list[str] = []
        layout = world.layout
        self.observation_spaces = {
            agent: Box(layout.low, layout.high, (layout.width,), np.float32) for agent in world.agents
        }
        self.action_spaces = {agent: Discrete(world.num_actions) for agent in world.agents}
        size = sum(value[0].numel() for value in world.state.values())
        self.state_space = Box(-np.inf, np.inf, (size,), np.float32)
        self._links: list[DrawnMessage] = []
        self._seeded = False

    def observation_space(self, agent: str) -> Any:
        """The agent's ``Box``."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """The agent's ``Discrete``."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Start an episode.

        Args:
            seed: Makes this and the following episodes reproducible; without any seed they differ from run to run.
            options: A fixed start in the environment's own words (its *scene*).

        Raises:
            ValueError: If the options are not a scene of this environment.
        """
        if seed is None and not self._seeded:
            self.world.generator.seed()
        self._seeded = True
        # PettingZoo's API test passes {"options": 1} to every environment; anything else must be a scene.
        scene = {key: value for key, value in (options or {}).items() if key != "options"}
        observation = self.world.reset(seed, scene or None)
        self.agents = self._there()
        self._links = []
        return self._of(self.agents, observation[0].cpu().numpy()), {agent: {} for agent in self.agents}

    def step(
        self, actions: Mapping[str, int]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Take one step with an action for every agent.

        Raises:
            RuntimeError: If no episode is running.
            ValueError: If an agent's action is missing or out of range, or an agent is unknown.
        """
        if not self.agents:
            raise RuntimeError("no episode is running: call reset first")
        if set(actions) != set(self.agents):
            raise ValueError(f"actions must have exactly the keys {self.agents}, not {list(actions)}")
        joint = np.array([[actions.get(agent, 0) for agent in self.possible_agents]])
        step = self.world.step(torch.as_tensor(joint, device=self.world.device), auto_reset=False)
        agents, left = self.agents, self._there()
        terminated, truncated, success = bool(step.terminated[0]), bool(step.truncated[0]), bool(step.success[0])
        active = self._of(agents, step.active[0].tolist())
        result = (
            self._of(agents, step.observation[0].cpu().numpy()),
            self._of(agents, step.reward[0].tolist()),
            {agent: terminated or agent not in left for agent in agents},
            dict.fromkeys(agents, truncated),
            {agent: {"active": active[agent], "success": success} for agent in agents},
        )
        self.agents = [] if terminated or truncated else left
        self._links = []
        return result

    def _there(self) -> list[str]:
        """Agents that have not failed."""
        there = self.world.alive[0].tolist()
        return [agent for agent, is_there in zip(self.possible_agents, there, strict=True) if is_there]

    def _of(self, agents: list[str], values: Any) -> dict[str, Any]:
        """The values of these agents, out of one for each possible agent."""
        return {agent: value for agent, value in zip(self.possible_agents, values, strict=True) if agent in agents}

    def state(self) -> Any:
        """[state_space] float32, everything that changes in the world."""
        values = [value[0].flatten().float() for value in self.world.state.values()]
        return torch.cat(values).cpu().numpy()

    def show(self, links: list[DrawnMessage]) -> None:
        """Draw these messages whenever the present step is rendered."""
        self._links = list(links)

    def render(self) -> Any:
        """The present step, with the messages given to :meth:`show`, as ``render_mode`` says."""
        if self.render_mode is None:
            return None
        return self.world.render(0, self.render_mode, self._links)

    def close(self) -> None:
        """Nothing is held open."""


def view(name: str, *, render_mode: RenderMode = None, **arguments: Any) -> ParallelView:
    """The registered environment of that name as a PettingZoo environment.

    Raises:
        PluginError: If there is no such environment.
        ConfigError: If an argument is unknown or out of range.
    """
    config = registry.build_config("environment", name, arguments)
    return ParallelView(registry.find("environment", name)(config), name, render_mode)


class ParallelWorldConfig(WorldConfig):
    """Arguments of a world made of somebody else's parallel environments."""

    make: str = Field("", description="what makes one environment, as package.module:function")
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments it is called with")
    max_steps: int = Field(1000, ge=1, description="steps after which an episode is cut off if it runs on")


class ParallelWorld(World[ParallelWorldConfig]):
    """B parallel environments with box observations and discrete actions, stepped one after the other.

    Observations are flattened and padded with zeros to the widest. An agent with fewer actions than the widest action
    space plays the action modulo its own number. Agents that have left are inactive, with zero observation and reward.
    An episode ends when the last agent leaves: terminated, unless that agent was truncated. ``infos`` may carry
    ``active`` and ``success`` as those of :class:`ParallelView` do; without them, agents are active while they are
    listed and termination counts as success.

    Such environments cannot save their state: :meth:`restore` starts new episodes from the saved generator.
    """

    def __init__(
        self,
        config: ParallelWorldConfig,
        num_worlds: int = 1,
        device: str | torch.device = "cpu",
        factory: Callable[[], Any] | None = None,
    ) -> None:
        """Make the environments.

        Args:
            config: Arguments.
            num_worlds: B.
            device: Where the tensors go.
            factory: Makes one environment; used instead of ``config.make``.

        Raises:
            ConfigError: If there is nothing to make environments with, or their spaces are of another kind.
        """
        super().__init__(config, num_worlds, device)
        if config.observation != "dense":
            raise ConfigError("a third-party environment offers observation 'dense' only")
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
        """Step every environment that still runs."""
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
                # An agent may be flagged both ways; the rules' word counts more than the clock's.
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
        """[B] bool, as ``infos`` say, or whether the episode terminated."""
        return torch.tensor(self._success, device=self.device)

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """What the environment draws in the mode it was made with; links appear if it has a ``show`` as views do."""
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
