"""Speaker-Listener: the same dynamics as mpe2, its floors, and what is observed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agentcomm.base.errors import ConfigError
from envs import speaker_listener
from envs.speaker_listener import TOUCH, SpeakerListener, SpeakerListenerConfig

SCENE = {"listener": [0.5, -0.5], "landmarks": [[-1, 1], [0, 0], [0.5, 0.9]], "goal": 1}


def make(worlds: int = 1, **arguments: Any) -> SpeakerListener:
    return SpeakerListener(SpeakerListenerConfig(**arguments), worlds)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_dynamics_are_those_of_mpe2(seed: int, continuous: bool) -> None:
    theirs = pytest.importorskip("mpe2.simple_speaker_listener_v4").parallel_env(continuous_actions=continuous)
    seen, _ = theirs.reset(seed=seed)
    their_world = theirs.unwrapped.world
    speaker, listener = their_world.agents
    ours = make(words=3, continuous=continuous)
    landmarks = [landmark.state.p_pos.tolist() for landmark in their_world.landmarks]
    goal = their_world.landmarks.index(speaker.goal_b)
    ours.reset(scene={"listener": listener.state.p_pos.tolist(), "landmarks": landmarks, "goal": goal})
    generator = torch.Generator().manual_seed(seed)
    for number in range(25):
        observed = ours.observe()[0]
        assert observed[1, 3:].tolist() == pytest.approx(seen["listener_0"].tolist(), abs=1e-5)
        assert int(observed[0, :3].argmax()) == int(seen["speaker_0"].argmax())
        joint, their_joint = draw(continuous, generator)
        seen, rewards, _, truncated, _ = theirs.step(their_joint)
        step = ours.step(joint, auto_reset=False)
        assert step.reward[0].tolist() == pytest.approx([rewards["speaker_0"], rewards["listener_0"]], abs=1e-5)
        assert all(truncated.values()) == step.truncated.item() == (number == 24)


def draw(continuous: bool, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
    """Random actions for one world of ours, and the same for mpe2."""
    if not continuous:
        word, move = torch.randint(3, (), generator=generator), torch.randint(5, (), generator=generator)
        return torch.stack([word, move]).unsqueeze(0), {"speaker_0": int(word), "listener_0": int(move)}
    word, push = torch.rand(3, generator=generator), 2 * torch.rand(2, generator=generator) - 1
    x, y = push.tolist()
    four = np.array([0, max(-x, 0), max(x, 0), max(-y, 0), max(y, 0)], np.float32)
    joint = torch.stack([word, torch.cat([push, torch.zeros(1)])]).unsqueeze(0)
    return joint, {"speaker_0": word.numpy(), "listener_0": four}


def play(world: SpeakerListener, act: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Reward of the last step, return, and success, [B] each."""
    world.reset(seed=0)
    total = torch.zeros(world.num_worlds)
    for _ in range(world.max_steps):
        step = world.step(act(world), auto_reset=False)
        total += step.reward[:, 0]
    return step.reward[:, 0], total, step.success


def test_floors() -> None:
    """At rest a silent listener loses 4/9 per step, one that is told next to nothing; a random one a lot."""
    generator = torch.Generator().manual_seed(0)
    world = make(4_000)
    last, total, _ = play(world, speaker_listener.silent)
    assert float(last.mean()) == pytest.approx(speaker_listener.expected(world.config, "silent"), abs=0.02)
    told_last, told_total, success = play(world, speaker_listener.told)
    assert float(told_last.mean()) == pytest.approx(speaker_listener.expected(world.config, "told"), abs=0.01)
    assert float(success.float().mean()) > 0.85
    _, random_total, _ = play(world, lambda w: w.actions.draw((w.num_worlds, 2), generator, w.device))
    _, smooth_total, _ = play(make(4_000, continuous=True), speaker_listener.told)
    returns = [float(value.mean()) for value in (told_total, smooth_total, total, random_total)]
    assert returns == pytest.approx([-7.7, -6.1, -15.8, -40.7], rel=0.04)


def test_who_sees_what() -> None:
    world = make(words=6)
    world.reset(scene=SCENE)
    step = world.step(torch.tensor([[5, 2]]), auto_reset=False)
    speaker, listener = step.observation[0].tolist()
    assert speaker == [0, 1, 0] + [0] * 14
    assert listener == pytest.approx([0, 0, 0, 0.5, 0, -1.5, 1.5, -0.5, 0.5, 0, 1.4, 0, 0, 0, 0, 0, 1])
    assert step.reward[0].tolist() == pytest.approx([-0.5, -0.5])
    assert world.facts()["goal"].tolist() == [[1, -1]]
    world.state["position"] = torch.tensor([[0.0, TOUCH - 1e-4]])
    assert world.success().all()


def test_without_words_the_speaker_changes_nothing() -> None:
    world = make(3)
    available = world.actions.available(world.device)
    assert available is not None
    assert available.tolist() == [[True] + [False] * 4, [True] * 5], "it has one action"
    one, other = make(3, continuous=True), make(3, continuous=True)
    for world in (one, other):
        world.reset(seed=1)
    first = one.step(torch.tensor([[[1.0, 0.0], [0.5, -1.0]]]).expand(3, -1, -1))
    second = other.step(torch.tensor([[[-1.0, 0.0], [0.5, -1.0]]]).expand(3, -1, -1))
    assert torch.equal(first.observation, second.observation)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), min_size=1, max_size=40), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_listener_stays_within_reach(actions: list[tuple[int, int]], seed: int) -> None:
    """A push of 0.5 per step and a loss of a quarter bound its speed by 2."""
    world = make(2, words=7, max_steps=100)
    world.reset(seed)
    for number, joint in enumerate(actions):
        step = world.step(torch.tensor([joint, (6 - joint[0], 4 - joint[1])]), auto_reset=False)
        assert bool(step.observation.isfinite().all())
        assert float(world.state["velocity"].abs().max()) <= 2.0 + 1e-5
        assert float(world.state["position"].abs().max()) <= 1 + 0.2 * (number + 1)


@pytest.mark.parametrize(
    "change", [{"goal": 3}, {"goal": 1.0}, {"listener": [1]}, {"listener": "a"}, {"landmarks": [[0, 0]]}, {"x": 1}]
)
def test_impossible_scenes_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="scene:"):
        make().reset(scene=SCENE | change)


def test_indices_are_refused() -> None:
    with pytest.raises(ConfigError, match="observation=dense"):
        make(observation="indices")


def test_it_can_be_drawn() -> None:
    world = make()
    world.reset(scene=SCENE)
    lines = world.render(0, "ansi").splitlines()
    assert lines[1] == "listener at 0.50, -0.50"
    assert lines[3] == "landmark 1 at 0.00, 0.00 is the goal"
    assert world.render(0, "rgb_array").shape == (400, 400, 3)
    with pytest.raises(ValueError, match="render mode"):
        world.render(0, "human")  # type: ignore[arg-type]
