"""Conformance check of seeding: a PettingZoo environment must reproduce whole episodes from a seed.

PettingZoo's ``parallel_seed_test`` (1.27) stops after one step, since its ``any(terminations)`` iterates over the keys
of a dict, which are all true. It does not detect randomness that ignores the seed later in an episode.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from pettingzoo import ParallelEnv

from agentcomm.conformance.common import require

PARTS = ("observations", "rewards", "terminations", "truncations", "infos")
Episode = list[tuple[Any, ...]]


def check_seeds(
    make: Callable[[], ParallelEnv], seeds: Sequence[int] = (0, 1, 2, 3), max_steps: int = 1000, varies: bool = True
) -> None:
    """Check that a seed and the actions determine an episode of a ParallelEnv from its first step to its last.

    For each seed, a used environment (it runs the episodes of all seeds in turn) and a new one run an episode with the
    same random actions. Observations, rewards, terminations, truncations and infos of both have to be equal.

    Args:
        make: Creates an environment, always with the same arguments.
        seeds: Seeds of the episodes.
        max_steps: Largest length of an episode, in steps.
        varies: Whether episodes differ between seeds; False for deterministic environments.

    Raises:
        AssertionError: If two episodes of one seed differ, all seeds give the same episode, or an episode is longer
            than ``max_steps``.
    """
    episodes = []
    with closing(make()) as used:
        for seed in seeds:
            episode = _play(used, seed, max_steps)
            with closing(make()) as fresh:
                problem = _difference(episode, _play(fresh, seed, max_steps))
            require(problem is None, f"two environments with seed {seed} and the same actions differ in {problem}")
            episodes.append(episode)
    if varies:
        differ = any(_difference(episodes[0], episode) for episode in episodes[1:])
        require(differ, f"seeds {', '.join(map(str, seeds))} all give the same episode")


def _play(env: ParallelEnv, seed: int, max_steps: int) -> Episode:
    """The return values of an environment in an episode with random actions, which are the same in each call."""
    observations, infos = copy.deepcopy(env.reset(seed=seed))
    episode: Episode = [(observations, infos)]
    spaces = {}
    for number, agent in enumerate(env.possible_agents):
        spaces[agent] = copy.deepcopy(env.action_space(agent))
        spaces[agent].seed(number)
    while env.agents:
        require(len(episode) <= max_steps, f"the episode with seed {seed} has not ended after {max_steps} steps")
        actions = {agent: _sample(spaces[agent], observations[agent], infos[agent]) for agent in env.agents}
        # Copied, since an environment may return the same array each time.
        returned = copy.deepcopy(env.step(actions))
        observations, infos = returned[0], returned[-1]
        episode.append(returned)
    return episode


def _sample(space: Any, observation: Any, info: Mapping[str, Any]) -> Any:
    """A random action, allowed by the mask that PettingZoo puts into the observation or the info."""
    holder = observation if isinstance(observation, Mapping) and "action_mask" in observation else info
    return space.sample(holder["action_mask"]) if "action_mask" in holder else space.sample()


def _difference(first: Episode, second: Episode) -> str | None:
    """The first difference of two episodes, or None."""
    for step, (one, other) in enumerate(zip(first, second, strict=False)):
        names = PARTS if step else ("observations", "infos")
        for name, value, its in zip(names, one, other, strict=True):
            if not _same(value, its):
                return f"{name} {f'of step {step}' if step else 'after reset'}"
    return None if len(first) == len(second) else "length"


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal in type, shape and number; NaN equals NaN."""
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, (np.ndarray, np.generic, float)):
        mine, its = np.asarray(one), np.asarray(other)
        if mine.dtype != its.dtype or mine.shape != its.shape:
            return False
        return bool(((mine == its) | ((mine != mine) & (its != its))).all())
    return bool(one == other)
