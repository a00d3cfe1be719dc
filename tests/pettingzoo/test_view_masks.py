"""Action masks where PettingZoo has no place for them: multi-discrete actions, and flat spaces with messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, MultiDiscrete
from matching import Matching, MatchingConfig

from agentcomm.pettingzoo.message_actions import MessageActionWrapper, Symbols, Vectors
from agentcomm.pettingzoo.view import ParallelView


def matching(space: str) -> ParallelView:
    return ParallelView(Matching(MatchingConfig(space=space, masks=True)), "matching")


def masks(infos: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {agent: info["action_mask"] for agent, info in infos.items()}


def test_masks_of_multi_discrete_actions_are_what_gymnasium_samples_from() -> None:
    env = matching("multi")
    observations, infos = env.reset(seed=0)
    assert all(env.observation_space(agent).contains(seen) for agent, seen in observations.items())
    banned: list[int] = []  # number of forbidden values in each step
    for _ in range(4):
        banned.append(0)
        allowed = env.world.allowed()[0].numpy()
        for number, (agent, given) in enumerate(masks(infos).items()):
            assert [len(part) for part in given] == [3, 2, 2]
            assert np.concatenate(given).tolist() == allowed[number].astype(int).tolist()
            banned[-1] += int((given[0] == 0).sum())
            drawn = [env.action_space(agent).sample(given) for _ in range(20)]
            assert all(given[0][one[0]] for one in drawn)
        actions = {agent: env.action_space(agent).sample(given) for agent, given in masks(infos).items()}
        _, _, _, _, infos = env.step(actions)
    assert banned == [3, 0, 3, 0], "one of each agent in every other step"


@pytest.mark.parametrize("space", ["discrete", "sizes", "multi"])
def test_flat_observations_keep_the_mask_in_infos(space: str) -> None:
    inner, wrapped = matching(space), MessageActionWrapper(matching(space), Symbols(symbols=3))
    theirs, told = inner.reset(seed=1)
    observations, infos = wrapped.reset(seed=1)
    for step in range(3):
        for agent, given in masks(infos).items():
            own = told[agent]["action_mask"] if space == "multi" else theirs[agent]["action_mask"]
            own = np.concatenate(own) if isinstance(own, tuple) else own
            assert given.tolist() == [*own.tolist(), 1, 1, 1], "every message is allowed"
            flat = wrapped.action_space(agent)
            assert isinstance(flat, MultiDiscrete)
            assert len(given) == flat.nvec.sum()
            assert isinstance(wrapped.observation_space(agent), Box)
        if step < 2:
            actions = {agent: np.zeros(wrapped.action_space(agent).shape, np.int64) for agent in wrapped.agents}
            own_actions = {a: np.zeros(inner.action_space(a).shape, np.int64) for a in inner.agents}
            observations, _, _, _, infos = wrapped.step(actions)
            theirs, _, _, _, told = inner.step(own_actions)
    assert observations


def test_dictionaries_keep_it_where_it_was() -> None:
    wrapped = MessageActionWrapper(matching("discrete"), Symbols(symbols=3), flat=False)
    observations, infos = wrapped.reset(seed=1)
    assert isinstance(wrapped.observation_space("agent_0"), Dict)
    assert "action_mask" in observations["agent_0"]["observation"]
    assert "action_mask" not in infos["agent_0"]


def test_environments_without_masks_have_none() -> None:
    for messages, name in (
        (Symbols(), "relay_line:members=3"),
        (Vectors(width=2), "speaker_listener:continuous=true"),
    ):
        _, infos = MessageActionWrapper(name, messages).reset(seed=0)
        assert not any("action_mask" in info for info in infos.values())
