"""One third-party environment, stepped into rows of numpy arrays, and the check of what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agentcomm.base.calling import calling
from agentcomm.base.errors import HookError
from agentcomm.pettingzoo.spaces import MASK
from agentcomm.pettingzoo.team import RESET, STEP, Team, parts

_NOBODY: frozenset[int] = frozenset()
_NUMBERS = frozenset((float, int, np.float32, np.float64))  # types of rewards that need no conversion


@dataclass(frozen=True)
class Rows:
    """The rows of one world in the arrays of all worlds.

    Attributes:
        seen: [N, O] float32, flattened observations, zero for absent agents.
        mask: [N, A] bool, allowed actions; all of them for absent agents. A is 0 if there are no masks.
        reward: [N] float32.
        active: [N] bool, agents whose action counted.
        alive: [N] bool, agents that are present.
        flags: [4] bool, whether the episode terminated, whether it was truncated, whether it is a success so far, and
            whether the environment said so in its last step (otherwise, termination counts).
    """

    seen: np.ndarray
    mask: np.ndarray
    reward: np.ndarray
    active: np.ndarray
    alive: np.ndarray
    flags: np.ndarray


class Simulator:
    """One environment.

    Args:
        env: A parallel environment.
        team: Its agents and spaces.
        what: The environment, for messages.
        world: Number of its world.
        rows: Where it writes what it returns.

    Attributes:
        env: The environment.
        running: Whether an episode is running.
    """

    def __init__(self, env: Any, team: Team, what: str, world: int, rows: Rows) -> None:
        self.env, self._what, self._world, self._rows = env, what, world, rows
        self._names, self._spaces, self._masked = team.names, team.spaces, team.masked
        self._index = {name: i for i, name in enumerate(team.names)}
        self._everyone = list(range(len(team.names)))
        self._plain = all(spaces.plain for spaces in team.spaces)
        self._listed: list[int] = []  # in env.agents
        self._ended = _NOBODY  # flagged as terminated or truncated, although still listed
        self._present: list[int] = []
        self._places = [spaces.shaped(row) for spaces, row in zip(team.spaces, rows.seen, strict=True)]
        self._options = np.zeros(rows.mask.shape, bool)
        for i, spaces in enumerate(team.spaces):
            self._options[i, : spaces.sizes[0] if spaces.sizes else 0] = True

    @property
    def running(self) -> bool:
        """Whether an episode is running."""
        return bool(self._listed)

    def reset(self, seed: int, options: Mapping[str, Any] | None) -> None:
        """Start an episode."""
        at = f"reset of world {self._world}"
        with calling(self._what, at):
            returned = self.env.reset(seed=seed, options=dict(options) if options else None)
        observations, infos = parts(returned, RESET, self._what, at)
        self._ended = _NOBODY
        self._listed = self._present = self._list(at)
        if not self._present:
            raise HookError(f"{self._what}, {at}: env.agents is empty, so no episode can start")
        self._set(self._rows.alive, self._present, True)
        self._see(self._present, observations, infos, at)
        self._rows.flags[:3] = False

    def step(self, actions: Sequence[Any], number: int) -> None:
        """Take one step. Listed agents that have ended take some action.

        Args:
            actions: An action per agent, as :meth:`AgentSpaces.action` takes it.
            number: Number of the step in its episode, from 1.
        """
        rows, acted, at = self._rows, self._present, f"step {number} of world {self._world}"
        chosen = self._chosen(actions)
        try:
            returned = self.env.step(chosen)
        except BaseException:
            with calling(self._what, at):
                raise
        observations, rewards, terminations, truncations, infos = parts(returned, STEP, self._what, at)
        names = self._names if acted is self._everyone else [self._names[i] for i in acted]
        try:
            gained = list(map(rewards.__getitem__, names))
            terminated = self._flagged(terminations, names, acted)
            truncated = self._flagged(truncations, names, acted)
        except KeyError:
            raise self._missing(returned, at) from None
        if not _NUMBERS.issuperset(map(type, gained)):
            gained = [self._reward(value, i, at) for value, i in zip(gained, acted, strict=True)]
        self._set(rows.reward, acted, gained)
        self._set(rows.active, acted, True)
        by_rule = self._leave(observations, infos, terminated, truncated, at)
        told = any(map(infos.get, names))
        rows.flags[2], rows.flags[3] = self._read_infos(infos, acted, by_rule) if told else (by_rule, False)

    def _chosen(self, actions: Sequence[Any]) -> dict[Any, Any]:
        """The environment's actions, by agent."""
        if self._plain and self._listed is self._everyone and not self._ended:
            return dict(zip(self._names, actions, strict=True))
        chosen = {self._names[i]: self._spaces[i].action(actions[i]) for i in self._listed}
        return chosen | {self._names[i]: self._spaces[i].first() for i in self._ended}

    @staticmethod
    def _flagged(flags: Mapping[Any, Any], names: Sequence[Any], agents: Sequence[int]) -> frozenset[int]:
        """The agents that are flagged, of those with these names."""
        values = list(map(flags.__getitem__, names))
        if not any(values):
            return _NOBODY
        return frozenset(i for i, flag in zip(agents, values, strict=True) if flag)

    def _set(self, row: np.ndarray, agents: list[int], values: Any) -> None:
        """Set the entries of some agents, and those of all others to 0."""
        if agents is self._everyone:  # the usual case, fast
            row[:] = values
        else:
            row[:] = 0
            row[agents] = values

    def _read_infos(self, infos: Mapping[Any, Any], acted: list[int], by_rule: bool) -> tuple[bool, bool]:
        """Read whose actions counted; whether the episode is a success so far, and whether any agent is told that."""
        told = [(i, info) for i in acted if (info := infos.get(self._names[i]))]
        for i, info in told:
            self._rows.active[i] = info.get("active", True)
        successes = [info.get("success", by_rule) for _, info in told]
        known = any("success" in info for _, info in told)
        return all(successes) and (by_rule or len(told) == len(acted)), known

    def _leave(
        self,
        observations: Mapping[Any, Any],
        infos: Mapping[Any, Any],
        terminated: frozenset[int],
        truncated: frozenset[int],
        at: str,
    ) -> bool:
        """Update who is present after a step and what agents observe; returns whether the episode terminated."""
        acted, flags = self._present, self._rows.flags
        self._listed = self._list(at)
        if not (terminated or truncated or self._ended) and self._listed == acted:  # the usual case, fast
            flags[:2] = False
            self._see(acted, observations, infos, at)
            return False
        self._ended = (self._ended | terminated | truncated).intersection(self._listed)
        present = shown = [i for i in self._listed if i not in self._ended]
        by_rule = not present and (len(terminated) == len(acted) or not truncated)
        flags[0], flags[1] = by_rule, not present and not by_rule
        if not present:
            # The last agents stay until the next episode; those that were cut off still expect a return.
            self._listed = []
            last = acted if by_rule else [i for i in acted if i in truncated and i not in terminated]
            shown = [i for i in last if self._names[i] in observations]
            present = shown or acted
            shown = [i for i in present if self._names[i] in observations]
        self._present = present
        self._set(self._rows.alive, present, True)
        self._see(shown, observations, infos, at)
        return by_rule

    def _see(self, shown: list[int], observations: Mapping[Any, Any], infos: Mapping[Any, Any], at: str) -> None:
        """Write the observations of some agents, and zeros for the others."""
        if shown is not self._everyone:
            self._rows.seen[:] = 0
        names, spaces, places = self._names, self._spaces, self._places
        for i in shown:
            try:
                spaces[i].write(observations[names[i]], places[i])
            except KeyError:
                text = f"agent {names[i]!r} is in env.agents, but has no observation"
                raise HookError(f"{self._what}, {at}: {text}") from None
            except ValueError as error:
                raise self._unfit(i, error, at) from None
        if self._masked or any(MASK in (infos.get(name) or ()) for name in names):
            self._rows.mask[:] = self._options
            for i in shown:
                try:
                    self._read_mask(i, observations[names[i]], infos.get(names[i]) or {})
                except ValueError as error:
                    raise self._unfit(i, error, at) from None

    def _unfit(self, agent: int, error: ValueError, at: str) -> HookError:
        """The error of an observation or mask that does not fit its space."""
        return HookError(f"{self._what}, {at}: agent {self._names[agent]!r}: {error}; convert it in a wrapper")

    def _read_mask(self, agent: int, observation: Any, info: Mapping[str, Any]) -> None:
        """Read the mask of an agent, if it has one."""
        spaces = self._spaces[agent]
        given = observation.get(MASK) if spaces.masked else info.get(MASK)
        if given is None:
            return
        if not self._masked:
            raise ValueError(f"it has an {MASK} in infos, but no agent had one after reset, so that none is expected")
        self._rows.mask[agent, : spaces.sizes[0] if spaces.sizes else 0] = spaces.mask(given)

    def _missing(self, returned: Sequence[Mapping[Any, Any]], at: str) -> HookError:
        """The error of a step that left out an agent."""
        absent = [
            (self._names[i], what) for i in self._present for what in (1, 2, 3) if self._names[i] not in returned[what]
        ]
        name, what = absent[0]
        return HookError(f"{self._what}, {at}: agent {name!r} acted, but is missing in {STEP[what]}")

    def _reward(self, reward: Any, agent: int, at: str) -> float:
        """A reward of an unusual type."""
        value = np.asarray(reward)
        if value.size != 1 or value.dtype.kind not in "biuf":
            text = f"the reward of agent {self._names[agent]!r} is {reward!r:.60}, not a number"
            raise HookError(f"{self._what}, {at}: {text}")
        return float(value.item())

    def _list(self, at: str) -> list[int]:
        """Agents that the environment lists, in the order of ``possible_agents``."""
        try:
            names = self.env.agents
            if names == self._names:
                return self._everyone
            names = list(names)
        except BaseException:
            with calling(self._what, at):
                raise
        for name in names:
            if name not in self._index:
                known = ", ".join(map(str, self._names))
                raise HookError(f"{self._what}, {at}: agent {name!r} is not among possible_agents ({known})")
        return sorted({self._index[name] for name in names})
