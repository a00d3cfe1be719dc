"""The grid tasks against episodes recorded from the reference implementations (tests/golden/README.md)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agentcomm.base.registry import build_config, find
from agentcomm.pettingzoo.view import view

RECORDED = json.loads(gzip.decompress((Path(__file__).parents[1] / "golden" / "grid_tasks.json.gz").read_bytes()))
STAY = 4
NAMES = {
    "dim": "size",
    "vision": "vision",
    "npredator": "predators",
    "nfriendly_P": "perception_agents",
    "nfriendly_A": "capture_agents",
    "mode": "mode",
}


def arguments(task: dict[str, Any]) -> dict[str, Any]:
    ours = {NAMES[key]: value for key, value in task["config"].items() if key != "second_reward_scheme"}
    if task["config"].get("second_reward_scheme"):
        ours["reward_scheme"] = "split"
    return ours | {"max_steps": 100}


def recorded_observation(task: dict[str, Any], episode: dict[str, Any], t: int) -> torch.Tensor:
    dense = torch.zeros(len(episode["start"]), task["observation_width"])
    for agent, index, value in episode["observations"][t]:
        dense[agent, index] = value
    return dense


def scene(episode: dict[str, Any]) -> dict[str, Any]:
    return {"positions": episode["start"], "prey": episode["prey"]}


def label(task: dict[str, Any]) -> str:
    return "-".join([task["task"], *(f"{key}={value}" for key, value in task["config"].items())])


def test_all_recordings_are_there() -> None:
    assert len(RECORDED) == 8
    assert all(len(task["episodes"]) == 6 for task in RECORDED)


@pytest.mark.parametrize("task", RECORDED, ids=label)
def test_batched_world_repeats_the_recording(task: dict[str, Any]) -> None:
    episodes = task["episodes"]
    config = build_config("environment", task["task"], arguments(task))
    world = find("environment", task["task"])(config, len(episodes))
    world.reset(seed=0)
    for b, episode in enumerate(episodes):
        world.begin(torch.tensor([b]), world.generator, scene(episode))
    observation = world.observe()
    assert world.layout.width == task["observation_width"]
    for t in range(max(len(episode["positions"]) for episode in episodes)):
        for b, episode in enumerate(episodes):
            if t < len(episode["positions"]):
                assert world.scene(b)["agents"] == episode["positions"][t]
                assert torch.equal(observation[b], recorded_observation(task, episode, t))
        running = [b for b, episode in enumerate(episodes) if t < len(episode["actions"])]
        if not running:
            break
        actions = torch.full((len(episodes), world.num_agents), STAY)
        for b in running:
            actions[b] = torch.tensor(episodes[b]["actions"][t])
        step = world.step(actions, auto_reset=False)
        observation = step.observation
        for b in running:
            np.testing.assert_allclose(step.reward[b], episodes[b]["rewards"][t], atol=1e-6)
            assert bool(step.terminated[b]) == episodes[b]["terminated"][t]
            assert bool(step.success[b]) >= bool(step.terminated[b])


@pytest.mark.parametrize("task", RECORDED, ids=label)
def test_pettingzoo_view_repeats_the_recording(task: dict[str, Any]) -> None:
    env = view(task["task"], **arguments(task))
    for episode in task["episodes"]:
        observations, _ = env.reset(options=scene(episode))
        for t, joint in enumerate(episode["actions"]):
            stacked = torch.as_tensor(np.stack([observations[agent] for agent in env.possible_agents]))
            assert torch.equal(stacked, recorded_observation(task, episode, t))
            actions = dict(zip(env.agents, joint, strict=True))
            observations, rewards, terminations, truncations, _ = env.step(actions)
            np.testing.assert_allclose(list(rewards.values()), episode["rewards"][t], atol=1e-6)
            assert set(terminations.values()) == {episode["terminated"][t]}
            assert set(truncations.values()) == {False}
        stacked = torch.as_tensor(np.stack([observations[agent] for agent in env.possible_agents]))
        assert torch.equal(stacked, recorded_observation(task, episode, len(episode["actions"])))
        assert (env.agents == []) == episode["terminated"][-1]
