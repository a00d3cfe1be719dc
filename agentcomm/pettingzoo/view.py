"""A world as a PettingZoo parallel environment, for any PettingZoo tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from gymnasium.spaces import Box, Dict
from pettingzoo import ParallelEnv

from agentcomm.base import registry
from agentcomm.contracts.discrete import Discrete, MultiDiscrete
from agentcomm.contracts.world import DrawnMessage, World
from agentcomm.pettingzoo.action_spaces import action_spaces, mask_space

RenderMode = Literal["ansi", "rgb_array"] | None


class ParallelView(ParallelEnv):  # type: ignore[misc]  # PettingZoo's generics are not typed for mypy
    """One world as a PettingZoo ``ParallelEnv``.

    Agents stay until the episode ends, unless the world lets members fail: those are terminated and leave. Where
    members return, all agents stay, because PettingZoo knows no return; absent ones observe zeros and are not active.
    ``infos[agent]`` has ``active`` (whether the agent's action counted in this step), ``success`` (whether the task's
    goal is reached, where that is known) and, for multi-discrete actions with masks, ``action_mask``: a tuple with an
    int8 vector per component. Masks of discrete actions come with observations, as PettingZoo has them.

    Attributes:
        world: The wrapped world, with one copy.
    """

    def __init__(self, world: World, name: str, render_mode: RenderMode = None) -> None:
        """Wrap a world.

        Args:
            world: A world of one copy with dense observations.
            name: Name of the environment, for ``metadata``.
            render_mode: Output of :meth:`render`: text ("ansi"), an [H, W, 3] image ("rgb_array") or None.

        Raises:
            ValueError: If the world has several copies or no dense observation, masks continuous actions, or the mode
                is unknown.
        """
        if world.num_worlds != 1:
            raise ValueError(f"a PettingZoo view shows one world, not {world.num_worlds}")
        if world.layout.kind != "dense":
            raise ValueError("a PettingZoo view needs observation='dense', not 'indices'")
        if world.masks_actions and not isinstance(world.actions, Discrete | MultiDiscrete):
            raise ValueError("a PettingZoo view has no masks of continuous actions")
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
        self.action_spaces = dict(zip(world.agents, action_spaces(world.actions, world.num_agents), strict=True))
        seen = Box(layout.low, layout.high, (layout.width,), np.float32)
        self.observation_spaces: dict[str, Any] = dict.fromkeys(world.agents, seen)
        if self._masks_observed:
            self.observation_spaces = {
                agent: Dict({"observation": seen, "action_mask": mask_space(self.action_spaces[agent])})
                for agent in world.agents
            }
        size = sum(value[0].numel() for value in world.state.values())
        self.state_space = Box(-np.inf, np.inf, (size,), np.float32)
        self._links: list[DrawnMessage] = []
        self._dtype = np.float32 if world.actions.dtype.is_floating_point else np.int64
        self._seeded = False

    @property
    def _masks_observed(self) -> bool:
        return self.world.masks_actions and isinstance(self.world.actions, Discrete)

    def observation_space(self, agent: str) -> Any:
        """The agent's ``Box``; with masks of ``Discrete`` actions a ``Dict`` of ``observation`` and ``action_mask``."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """The agent's ``Discrete``, ``MultiDiscrete`` or ``Box``."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Start an episode.

        Args:
            seed: Makes this and the following episodes reproducible; without any seed they differ from run to run.
            options: A fixed initial state (*scene*) in the environment's own format.

        Raises:
            ValueError: If the options are not a scene of this environment.
        """
        if seed is None and not self._seeded:
            self.world.generator.seed()
        self._seeded = True
        # PettingZoo's API test passes {"options": 1} to every environment; anything else must be a scene.
        scene = {key: value for key, value in (options or {}).items() if key != "options"}
        observation = self.world.reset(seed, scene or None)
        self.agents = self._present()
        self._links = []
        return self._of(self.agents, self._seen(observation)), self._of(self.agents, self._masks())

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Take one step with an action for every agent.

        Raises:
            RuntimeError: If no episode is running.
            ValueError: If an agent's action is missing or out of range, or an agent is unknown. Masked actions are in
                range: they do nothing.
        """
        if not self.agents:
            raise RuntimeError("no episode is running: call reset first")
        if set(actions) != set(self.agents):
            raise ValueError(f"actions must have exactly the keys {self.agents}, not {list(actions)}")
        joint = np.zeros((1, len(self.possible_agents), *self.world.actions.shape), self._dtype)
        for number, agent in enumerate(self.possible_agents):
            if agent in actions:
                self._write(joint[0, number : number + 1], agent, np.asarray(actions[agent]))
        step = self.world.step(torch.as_tensor(joint, device=self.world.device), auto_reset=False)
        agents, left = self.agents, self._present()
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        told = {"success": bool(step.success[0])} if bool(step.success_known[0]) else {}
        active, masks = (self._of(agents, values) for values in (step.active[0].tolist(), self._masks()))
        result = (
            self._of(agents, self._seen(step.observation)),
            self._of(agents, step.reward[0].tolist()),
            {agent: terminated or agent not in left for agent in agents},
            dict.fromkeys(agents, truncated),
            {agent: {"active": active[agent]} | told | masks[agent] for agent in agents},
        )
        self.agents = [] if terminated or truncated else left
        self._links = []
        return result

    def _write(self, place: np.ndarray, agent: str, action: np.ndarray) -> None:
        """Write an agent's action to its place [1, ...] among those of all; dimensions that it does not have stay 0.

        Raises:
            ValueError: If shape or type of the action is not that of the agent's space.
        """
        if action.shape != self.action_spaces[agent].shape or not np.can_cast(action.dtype, self._dtype, "same_kind"):
            raise ValueError(f"the action of {agent!r} must be in {self.action_spaces[agent]}, not {action!r}")
        place[(slice(None), *(slice(size) for size in action.shape))] = action

    def _seen(self, observation: torch.Tensor) -> list[Any]:
        """What each agent observes, and its mask if that is observed."""
        seen, allowed = observation[0].cpu().numpy(), self.world.available()
        if not self._masks_observed or allowed is None:
            return list(seen)
        sizes = [self.action_spaces[agent].n for agent in self.possible_agents]
        masks = [mask[:size] for mask, size in zip(allowed[0].cpu().numpy().astype(np.int8), sizes, strict=True)]
        return [{"observation": x, "action_mask": mask} for x, mask in zip(seen, masks, strict=True)]

    def _masks(self) -> list[dict[str, Any]]:
        """For ``infos``: each agent's masks of a multi-discrete action, as ``MultiDiscrete.sample`` takes them."""
        actions, allowed = self.world.actions, self.world.available()
        if not self.world.masks_actions or allowed is None or not isinstance(actions, MultiDiscrete):
            return [{} for _ in self.possible_agents]
        starts = np.cumsum([0, *actions.components[:-1]])
        rows = zip(self.possible_agents, allowed[0].cpu().numpy().astype(np.int8), strict=True)
        return [
            {
                "action_mask": tuple(
                    mask[at : at + size] for at, size in zip(starts, self.action_spaces[agent].nvec, strict=True)
                )
            }
            for agent, mask in rows
        ]

    def _present(self) -> list[str]:
        """Present agents."""
        if self.world.members_return:
            return list(self.possible_agents)
        present = self.world.alive[0].tolist()
        return [agent for agent, here in zip(self.possible_agents, present, strict=True) if here]

    def _of(self, agents: list[str], values: Any) -> dict[str, Any]:
        """The values of these agents, selected from one value per possible agent."""
        return {agent: value for agent, value in zip(self.possible_agents, values, strict=True) if agent in agents}

    def state(self) -> Any:
        """[state_space] float32, the full state of the world."""
        values = [value[0].flatten().float() for value in self.world.state.values()]
        return torch.cat(values).cpu().numpy()

    def show(self, links: list[DrawnMessage]) -> None:
        """Set the messages to draw when the current step is rendered."""
        self._links = list(links)

    def render(self) -> Any:
        """Render the current step in ``render_mode``, with the messages given to :meth:`show`."""
        if self.render_mode is None:
            return None
        return self.world.render(0, self.render_mode, self._links)

    def close(self) -> None:
        """Close the world."""
        self.world.close()


def view(name: str, *, render_mode: RenderMode = None, **arguments: Any) -> ParallelView:
    """A registered environment as a PettingZoo environment.

    Raises:
        PluginError: If the environment is unknown.
        ConfigError: If an argument is unknown or out of range.
    """
    config = registry.build_config("environment", name, arguments)
    return ParallelView(registry.find("environment", name)(config), name, render_mode)
