"""Parallel environments that do what third-party ones do, by script."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv

from agentcomm.pettingzoo.adapter import ParallelWorld, ParallelWorldConfig

Agents = str  # one letter each


class Scripted(ParallelEnv):  # type: ignore[misc]
    """Agents a, b and c; per step: who is listed afterwards, who terminates, and who is truncated.

    All agents that are listed before or after a step observe the number of steps plus one, and earn 1.
    """

    possible_agents = ("a", "b", "c")
    made = closed = 0

    def __init__(self, *script: tuple[Agents, Agents, Agents], first: Agents = "abc") -> None:
        self.script, self.first, self.actions = script, first, list[dict[str, int]]()
        type(self).made += 1

    def close(self) -> None:
        type(self).closed += 1

    def observation_space(self, agent: str) -> Any:
        return Box(0, 9, (1,), np.float32)

    def action_space(self, agent: str) -> Any:
        return Discrete(2, start=5)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.t, self.agents = 0, list(self.first)
        return {a: np.ones(1, np.float32) for a in self.agents}, {a: {} for a in self.agents}

    def step(self, actions: dict[str, int]) -> Any:
        self.actions.append(actions)
        after, ended, cut = self.script[self.t % len(self.script)]
        self.t += 1
        before, self.agents = self.agents, list(after)
        both = dict.fromkeys([*before, *after])
        return (
            {a: np.full(1, self.t + 1, np.float32) for a in both},
            dict.fromkeys(both, 1.0),
            {a: a in ended for a in both},
            {a: a in cut for a in both},
            {a: {} for a in both},
        )


class Fragile(Scripted):
    """Agents stay for six steps, of which the second goes wrong in episodes of one seed."""

    def __init__(self, fault: str = "", seed: int | None = None) -> None:
        super().__init__(*[("abc", "", "")] * 5, ("", "abc", ""))
        self.fault, self.seed, self.own = fault, seed, None

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.own = seed
        return super().reset(seed, options)

    def step(self, actions: dict[str, int]) -> Any:
        returned = super().step(actions)
        if self.t != 2 or self.own != self.seed:
            return returned
        if self.fault == "raise":
            raise ConnectionError("licence server does not answer")
        if self.fault == "leave":
            returned[0]["b"][0] = 99
        elif self.fault == "forget":
            del returned[1]["b"]  # of the rewards
        elif self.fault == "exit":
            os._exit(3)
        elif self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return returned

    def close(self) -> None:
        super().close()
        if self.fault == "hang":
            time.sleep(60)
        if self.fault == "close":
            raise RuntimeError("cannot close")


def world(factory: Callable[[], Any], worlds: int = 1, max_steps: int = 20) -> ParallelWorld:
    return ParallelWorld(ParallelWorldConfig(max_steps=max_steps), worlds, factory=factory)


def scripted(*script: tuple[Agents, Agents, Agents], first: Agents = "abc", worlds: int = 1) -> ParallelWorld:
    return world(lambda: Scripted(*script, first=first), worlds)
