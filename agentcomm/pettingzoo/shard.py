"""Third-party environments of consecutive worlds, stepped one after the other, with all numbers in arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from agentcomm.base.calling import calling
from agentcomm.base.errors import HookError, NumberError
from agentcomm.pettingzoo.kinds import as_parallel
from agentcomm.pettingzoo.simulator import Rows, Simulator
from agentcomm.pettingzoo.team import Team

# By how much observations may exceed their space, relative to its bounds (at least 1): errors of rounding.
ROUNDING = 1e-5
ALIGNMENT = 64  # bytes


class Arrays:
    """What goes into the environments of B worlds and what comes out, in one block of memory.

    Args:
        team: What the environments have in common.
        worlds: B.
        memory: The block, of at least :meth:`size` bytes; allocated if not given.

    Attributes:
        actions: [B, N] int64 if discrete; [B, N, K] int64 if multi-discrete; [B, N, D] float32 if continuous.
        seen: [B, N, O] float32; this and the other attributes are those of :class:`Rows` for all worlds.
        mask: [B, N, A] bool.
        reward: [B, N] float32.
        active: [B, N] bool.
        alive: [B, N] bool.
        flags: [B, 4] bool.
    """

    def __init__(self, team: Team, worlds: int, memory: Any = None) -> None:
        block = bytearray(self.size(team, worlds)) if memory is None else memory
        at = 0
        for name, (shape, dtype) in _forms(team, worlds).items():
            count = int(np.prod(shape))
            setattr(self, name, np.frombuffer(block, dtype, count, at).reshape(shape))
            at += _aligned(count * np.dtype(dtype).itemsize)

    actions: np.ndarray
    seen: np.ndarray
    mask: np.ndarray
    reward: np.ndarray
    active: np.ndarray
    alive: np.ndarray
    flags: np.ndarray

    @staticmethod
    def size(team: Team, worlds: int) -> int:
        """Bytes of the block."""
        forms = _forms(team, worlds).values()
        return max(sum(_aligned(int(np.prod(shape)) * np.dtype(dtype).itemsize) for shape, dtype in forms), 1)

    def rows(self, world: int) -> Rows:
        """The rows of one world."""
        arrays = (self.seen, self.mask, self.reward, self.active, self.alive, self.flags)
        return Rows(*(array[world] for array in arrays))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _forms(team: Team, worlds: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shape and type of each array."""
    each = (worlds, len(team.names))
    discrete = team.kind == "discrete"
    return {
        "actions": (
            each if discrete else (*each, team.dimensions),
            np.float32 if team.kind == "continuous" else np.int64,
        ),
        "seen": ((*each, team.width), np.float32),
        "mask": ((*each, team.options if team.masked else 0), bool),
        "reward": (each, np.float32),
        "active": (each, bool),
        "alive": (each, bool),
        "flags": ((worlds, 4), bool),
    }


class Shard:
    """The environments of some consecutive worlds.

    Args:
        make: Creates an environment.
        count: Number of worlds.
        what: The environment, for messages.
        first: Number of the first world.

    Attributes:
        team: What the environments have in common.
        envs: The environments, as parallel ones.

    Raises:
        ConfigError: If they are of a kind that is not supported, or their spaces are not.
        HookError: If their code raises an error.
    """

    def __init__(self, make: Callable[[], Any], count: int, what: str, first: int = 0) -> None:
        self._what, self._first = what, first
        self.envs: list[Any] = []
        self.simulators: list[Simulator] = []
        try:
            for _ in range(count):
                with calling(what, "its constructor"):
                    self.envs.append(make())
                self.envs[-1] = as_parallel(self.envs[-1], what)
            self.team = Team.of(self.envs[0], what, first)
        except BaseException:
            with suppress(HookError):  # the first error says more
                self.close()
            raise
        self._low, self._high = bounds(self.team)
        self._least, self._most = min(0.0, float(self._low.min())), max(0.0, float(self._high.max()))
        self._loose = self._low - _slack(self._low), self._high + _slack(self._high)

    def attach(self, arrays: Arrays) -> None:
        """Use these arrays of all worlds from now on."""
        self._arrays = arrays
        self.simulators = [
            Simulator(env, self.team, self._what, world, arrays.rows(world))
            for world, env in enumerate(self.envs, self._first)
        ]

    def reset(self, seeds: Mapping[int, int], options: Mapping[str, Any] | None) -> None:
        """Start episodes in some worlds, each with its seed."""
        for world, seed in seeds.items():
            self.simulators[world - self._first].reset(seed, options)
        self._check(list(seeds), "reset of world {}".format)

    def step(self, steps: Sequence[int]) -> None:
        """Step every environment whose episode is running, with the actions in the arrays.

        Args:
            steps: Steps that the episodes of all worlds had so far.
        """
        arrays, first = self._arrays, self._first
        mine = slice(first, first + len(self.simulators))
        actions = arrays.actions[mine].tolist() if arrays.actions.ndim == 2 else arrays.actions[mine]
        running = [simulator.running for simulator in self.simulators]
        if not all(running):
            ended = [first + i for i, runs in enumerate(running) if not runs]
            arrays.reward[ended], arrays.active[ended], arrays.flags[ended, :3] = 0, False, False
        for simulator, joint, steps_so_far, runs in zip(self.simulators, actions, steps[mine], running, strict=True):
            if runs:
                simulator.step(joint, steps_so_far + 1)
        stepped = [first + i for i, runs in enumerate(running) if runs]
        if stepped and not np.isfinite(arrays.reward[stepped]).all():
            world, i = (int(index) for index in np.argwhere(~np.isfinite(arrays.reward[mine]))[0])
            at, reward = f"step {steps[first + world] + 1} of world {first + world}", arrays.reward[first + world, i]
            raise NumberError(f"{self._what}, {at}: the reward of agent {self.team.names[i]!r} is {reward}")
        self._check(stepped, lambda world: f"step {steps[world] + 1} of world {world}")

    def _check(self, worlds: list[int], at: Callable[[int], str]) -> None:
        """Check the bounds of the latest observations of some worlds, all at once.

        Args:
            worlds: Numbers of the worlds.
            at: What happened in a world, for messages.
        """
        arrays, (low, high) = self._arrays, self._loose
        seen = arrays.seen[worlds]
        wrong = ~(np.isfinite(seen) & (seen >= low) & (seen <= high)) & arrays.alive[worlds][..., None]
        if wrong.any():
            k, i, entry = (int(index) for index in np.argwhere(wrong)[0])
            value, spaces = seen[k, i, entry], self.team.spaces[i]
            text = (
                f"{self._what}, {at(worlds[k])}: agent {self.team.names[i]!r} observes {value} in entry {entry} of"
                f" {spaces.width}"
            )
            if not np.isfinite(value):
                raise NumberError(f"{text}; observations must be finite")
            limits = f"{spaces.low[entry]} to {spaces.high[entry]}"
            raise HookError(f"{text}, outside its space ({limits}): correct the space, or clip observations")
        arrays.seen[worlds] = np.clip(seen, self._least, self._most)

    def render(self, world: int, links: Any) -> Any:
        """The rendering of a world in its own render mode; links are drawn if it has a ``show`` method."""
        env = self.envs[world - self._first]
        with calling(self._what, f"the rendering of world {world}"):
            if links and hasattr(env, "show"):
                env.show(links)
            return env.render()

    def close(self) -> None:
        """Close all environments, also if closing one fails; can be called again.

        Raises:
            HookError: The first error of those that failed.
        """
        envs, self.envs = self.envs, []
        failed: HookError | None = None
        for env in envs:
            try:
                with calling(self._what, "close"):
                    getattr(env, "close", lambda: None)()
            except HookError as error:
                failed = failed or error
        if failed is not None:
            raise failed


def bounds(team: Team) -> tuple[np.ndarray, np.ndarray]:
    """[N, O] each, smallest and largest values of observations; 0 where narrow ones are padded."""
    low, high = (
        np.stack([np.pad(getattr(spaces, end), (0, team.width - spaces.width)) for spaces in team.spaces])
        for end in ("low", "high")
    )
    return low, high


def _slack(bound: np.ndarray) -> np.ndarray:
    """By how much observations may exceed a bound."""
    slack: np.ndarray = ROUNDING * np.maximum(1, np.abs(np.where(np.isfinite(bound), bound, 1)))
    return slack
