"""PettingZoo parallel environments as worlds, at the speed of their Python code."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from agentcomm.base.calling import calling, described
from agentcomm.base.errors import ConfigError, HookError, NumberError
from agentcomm.contracts.world import DrawnMessage, Observation, Transition, World, WorldConfig
from agentcomm.pettingzoo.spaces import NO_MASKS, AgentSpaces, check_kind

RESET = ("observations", "infos")
STEP = ("observations", "rewards", "terminations", "truncations", "infos")
# By how much observations may exceed their space, relative to its bounds (at least 1): errors of rounding.
ROUNDING = 1e-5


class ParallelWorldConfig(WorldConfig):
    """Arguments of a world made of third-party parallel environments."""

    make: str = Field("", description="function that creates an environment: package.module:function")
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of that function")
    max_steps: int = Field(1000, ge=1, description="steps after which an episode is truncated")

    def code(self) -> list[str]:
        """The module of the environment."""
        return [self.make.partition(":")[0]]


class ParallelWorld(World[ParallelWorldConfig]):
    """B parallel environments with discrete actions, stepped one after the other.

    Observations are flattened and padded with zeros to the widest. An agent with fewer actions than the widest action
    space takes the action modulo its own number of actions.

    Agents are present (``alive``) while they are listed in ``env.agents`` and have not been flagged as terminated or
    truncated; they may join later, and come back after they were not listed. An episode ends when no agent is present:
    terminated, unless one of the last agents was truncated. ``infos`` may contain ``active`` and ``success`` like
    those of :class:`ParallelView`; without them, agents are active while they are present, and termination counts as
    success. Everything else in ``infos`` is ignored, but action masks are rejected.

    Such environments cannot save their state: :meth:`restore` starts new episodes from the saved generator.
    """

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """An environment to try the adapter with, except for subclasses that create their own."""
        own = cls.__init__ is not ParallelWorld.__init__
        return {"": {} if own else {"make": "envs.gridworld.predator_prey:parallel_env"}}

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
            ConfigError: If no function to create environments is given, they are not parallel environments, or their
                spaces are not supported.
            HookError: If their code raises an error.
        """
        super().__init__(config, num_worlds, device)
        if config.observation != "dense":
            raise ConfigError("third-party environments support observation='dense' only")
        self._what = f"environment {config.make or self.name!r}"
        self._envs: list[Any] = []
        make = factory or _maker(config)
        try:
            for _ in range(num_worlds):
                with calling(self._what, "its constructor"):
                    self._envs.append(make())
            self._describe(self._envs[0])
        except BaseException:
            with suppress(HookError):  # the first error says more
                self.close()
            raise
        shape = (num_worlds, len(self.agents))
        self._listed = np.zeros(shape, bool)  # in env.agents
        self._ended = np.zeros(shape, bool)  # flagged as terminated or truncated, although still listed
        self._seen = np.zeros((*shape, self.layout.width), np.float32)
        self._success = np.zeros(num_worlds, bool)
        self._alive = np.zeros(shape, bool)
        self._share_alive()

    def _describe(self, env: Any) -> None:
        """Read agents and spaces of an environment."""
        check_kind(env, self._what)
        with calling(self._what, "possible_agents"):
            self._names = list(env.possible_agents)
        self.agents = tuple(str(name) for name in self._names)
        self._index = {name: i for i, name in enumerate(self._names)}
        self._spaces = []
        for name in self._names:
            with calling(self._what, f"the spaces of agent {name!r}"):
                spaces = env.observation_space(name), env.action_space(name)
            self._spaces.append(AgentSpaces(f"{self._what}: agent {name!r}", *spaces))
        if not self._spaces:
            raise ConfigError(f"{self._what} has no possible_agents")
        width = max(spaces.width for spaces in self._spaces)
        low = np.stack([np.pad(spaces.low, (0, width - spaces.width)) for spaces in self._spaces])
        high = np.stack([np.pad(spaces.high, (0, width - spaces.width)) for spaces in self._spaces])
        self.layout = Observation("dense", width, low=min(0.0, float(low.min())), high=max(0.0, float(high.max())))
        self._low, self._high = low - _slack(low), high + _slack(high)
        self.action_names = tuple(str(number) for number in range(max(spaces.actions for spaces in self._spaces)))

    @property
    def loses_members(self) -> bool:
        """Agents come and go as their environment says."""
        return True

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Reset the environments, each with a seed from the generator and the scene as its options."""
        seeds = torch.randint(2**31, (len(worlds),), generator=generator, device=self.device)
        where = worlds.tolist()
        for world, seed in zip(where, seeds.tolist(), strict=True):
            env, at = self._envs[world], f"reset of world {world}"
            with calling(self._what, at):
                returned = env.reset(seed=seed, options=dict(scene) if scene else None)
            observations, infos = self._parts(returned, RESET, at)
            self._ended[world] = False
            self._listed[world] = self._alive[world] = self._list(env, at)
            if not self._alive[world].any():
                raise HookError(f"{self._what}, {at}: env.agents is empty, so no episode can start")
            self._see(world, self._alive[world], observations, infos, at)
            self._success[world] = False
        self._check_seen(where, "reset of world {}".format)
        self._share_alive()

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Step every environment whose episode is running."""
        joint, steps = actions.cpu().numpy(), self.length.tolist()
        reward = np.zeros(joint.shape, np.float32)
        active = np.zeros(joint.shape, bool)
        terminated, truncated = np.zeros((2, len(joint)), bool)
        running = [world for world in range(len(joint)) if self._listed[world].any()]
        for world in running:
            at = f"step {steps[world] + 1} of world {world}"
            returned = self._step(world, joint[world], at)
            active[world] = self._alive[world]
            by_flag = self._flags(world, returned, at)
            for i in self._alive[world].nonzero()[0].tolist():
                name = self._names[i]
                reward[world, i] = self._reward(returned["rewards"][name], name, at)
                active[world, i] = _info(returned["infos"], name).get("active", True)
            terminated[world], truncated[world] = self._leave(world, returned, *by_flag, at)
        self._check_seen(running, lambda world: f"step {steps[world] + 1} of world {world}")
        self._share_alive()
        return Transition(*(torch.as_tensor(x, device=self.device) for x in (reward, terminated, active, truncated)))

    def _step(self, world: int, numbers: np.ndarray, at: str) -> dict[str, Any]:
        """Step one environment; what it returns, by name. Listed agents that have ended take their first action."""
        chosen = {
            self._names[i]: self._spaces[i].action(int(numbers[i]) if self._alive[world, i] else 0)
            for i in self._listed[world].nonzero()[0].tolist()
        }
        with calling(self._what, at):
            returned = self._envs[world].step(chosen)
        parts = dict(zip(STEP, self._parts(returned, STEP, at), strict=True))
        for i in self._alive[world].nonzero()[0].tolist():
            for part in STEP[1:4]:
                if self._names[i] not in parts[part]:
                    raise HookError(f"{self._what}, {at}: agent {self._names[i]!r} acted, but is missing in {part}")
        return parts

    def _flags(self, world: int, returned: Mapping[str, Any], at: str) -> tuple[np.ndarray, np.ndarray]:
        """[N] bool each, present agents that are flagged as terminated and as truncated."""
        terminated, truncated = np.zeros((2, len(self._names)), bool)
        for i in self._alive[world].nonzero()[0].tolist():
            terminated[i] = bool(returned["terminations"][self._names[i]])
            truncated[i] = bool(returned["truncations"][self._names[i]])
        return terminated, truncated

    def _leave(
        self, world: int, returned: Mapping[str, Any], terminated: np.ndarray, truncated: np.ndarray, at: str
    ) -> tuple[bool, bool]:
        """Update who is present in a world after a step; whether the episode terminated, and was truncated."""
        acted, infos = self._alive[world].copy(), returned["infos"]
        self._listed[world] = self._list(self._envs[world], at)
        self._ended[world] = (self._ended[world] | terminated | truncated) & self._listed[world]
        present = self._listed[world] & ~self._ended[world]
        ends = not present.any()
        by_rule = ends and (bool(terminated[acted].all()) or not truncated.any())
        if ends:
            # The last agents stay until the next episode; those that were cut off still expect a return.
            self._listed[world] = False
            present = acted if by_rule else acted & truncated & ~terminated
            there = [name in returned["observations"] for name in self._names]
            present = present & there if (present & there).any() else acted
            shown = present & there
        else:
            shown = present
        self._alive[world] = present
        self._see(world, shown, returned["observations"], infos, at)
        successes = [_info(infos, self._names[i]).get("success", by_rule) for i in acted.nonzero()[0].tolist()]
        self._success[world] = all(successes)
        return by_rule, ends and not by_rule

    def _see(
        self, world: int, shown: np.ndarray, observations: Mapping[Any, Any], infos: Mapping[Any, Any], at: str
    ) -> None:
        """Store the observations of some agents ([N] bool), and zeros for the others."""
        self._seen[world] = 0
        rows = self._seen[world]
        for i in shown.nonzero()[0].tolist():
            name = self._names[i]
            if name not in observations:
                raise HookError(f"{self._what}, {at}: agent {name!r} is in env.agents, but has no observation")
            if "action_mask" in _info(infos, name):
                raise ConfigError(f"{self._what}, {at}: agent {name!r} {NO_MASKS}")
            try:
                flat = self._spaces[i].vector(observations[name])
            except ValueError as error:
                raise HookError(f"{self._what}, {at}: agent {name!r}: {error}; convert it in a wrapper") from None
            with np.errstate(over="ignore"):  # what does not fit float32 is infinite, and rejected as such
                rows[i, : len(flat)] = flat

    def _check_seen(self, worlds: list[int], at: Callable[[int], str]) -> None:
        """Check the bounds of the latest observations of some worlds, all at once.

        Args:
            worlds: Indices of the worlds.
            at: What happened in a world, for messages.
        """
        seen = self._seen[worlds]
        inside = (seen >= self._low) & (seen <= self._high)
        wrong = ~(np.isfinite(seen) & inside) & self._alive[worlds][..., None]
        if wrong.any():
            k, i, entry = (int(index) for index in np.argwhere(wrong)[0])
            value, spaces = seen[k, i, entry], self._spaces[i]
            text = (
                f"{self._what}, {at(worlds[k])}: agent {self._names[i]!r} observes {value} in entry {entry} of"
                f" {spaces.width}"
            )
            if not np.isfinite(value):
                raise NumberError(f"{text}; observations must be finite")
            bounds = f"{spaces.low[entry]} to {spaces.high[entry]}"
            raise HookError(f"{text}, outside its space ({bounds}): correct the space, or clip observations")
        self._seen[worlds] = np.clip(seen, self.layout.low, self.layout.high)

    def _reward(self, reward: Any, name: Any, at: str) -> float:
        """The reward of an agent, checked."""
        if type(reward) is float and math.isfinite(reward):  # the usual case, fast
            return reward
        value = np.asarray(reward)
        if value.size != 1 or value.dtype.kind not in "biuf":
            raise HookError(f"{self._what}, {at}: the reward of agent {name!r} is {reward!r:.60}, not a number")
        if not np.isfinite(value).all():
            raise NumberError(f"{self._what}, {at}: the reward of agent {name!r} is {value.item()}")
        return float(value.item())

    def _list(self, env: Any, at: str) -> np.ndarray:
        """[N] bool, agents that the environment lists."""
        listed = np.zeros(len(self._names), bool)
        with calling(self._what, at):
            names = list(env.agents)
        for name in names:
            if name not in self._index:
                known = ", ".join(self.agents)
                raise HookError(f"{self._what}, {at}: agent {name!r} is not among possible_agents ({known})")
            listed[self._index[name]] = True
        return listed

    def _parts(self, returned: Any, names: tuple[str, ...], at: str) -> tuple[Any, ...]:
        """What reset or step returned: one dictionary per name."""
        if isinstance(returned, tuple) and len(returned) == len(names):
            if all(isinstance(part, Mapping) for part in returned):
                return returned
            kinds = ", ".join(type(part).__name__ for part in returned)
            raise HookError(f"{self._what}, {at}: {', '.join(names)} must be dictionaries by agent, not {kinds}")
        kind = f"{len(returned)} values" if isinstance(returned, tuple) else f"a {type(returned).__name__}"
        raise HookError(f"{self._what}, {at}: it returned {kind}, not the {len(names)} values {', '.join(names)}")

    def _share_alive(self) -> None:
        self.state["alive"] = torch.tensor(self._alive, device=self.device)

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
        with calling(self._what, f"the rendering of world {world}"):
            if links and hasattr(env, "show"):
                env.show(links)
            return env.render()

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Start new episodes, drawn from the saved generator."""
        super().restore(saved)
        self.reset()

    def close(self) -> None:
        """Close all environments, also if closing one fails."""
        envs, self._envs = self._envs, []
        failed: HookError | None = None
        for env in envs:
            try:
                with calling(self._what, "close"):
                    getattr(env, "close", lambda: None)()
            except HookError as error:
                failed = failed or error
        if failed is not None:
            raise failed


def _info(infos: Mapping[Any, Any], name: Any) -> Mapping[str, Any]:
    return infos.get(name) or {}


def _slack(bound: np.ndarray) -> np.ndarray:
    """By how much observations may exceed a bound."""
    slack: np.ndarray = ROUNDING * np.maximum(1, np.abs(np.where(np.isfinite(bound), bound, 1)))
    return slack


def _maker(config: ParallelWorldConfig) -> Callable[[], Any]:
    module, colon, function = config.make.partition(":")
    if not (module and colon and function):
        raise ConfigError(f"make must be 'package.module:function', not {config.make!r}")
    try:
        maker = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"make: {config.make!r} cannot be imported: {error}") from error
    except Exception as error:
        raise HookError(f"make: the import of {module!r} failed: {described(error)}") from error
    return lambda: maker(**config.arguments)
