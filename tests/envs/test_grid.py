"""Rules both grid tasks keep, whatever their arguments and the agents' actions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from grids import actions_of, make, reconstruct, worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcomm.base.errors import ConfigError
from agentcomm.base.registry import build_config
from agentcomm.contracts.world import DrawnMessage
from envs.gridworld.drawing import FATE_COLORS
from envs.gridworld.predator_capture_prey import CAPTURE_ACTION

STAY = 4


@given(worlds(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_rules_hold_along_random_episodes(case: tuple[str, dict[str, Any]], seed: int) -> None:
    name, arguments = case
    world = make(name, 4, **arguments)
    generator = torch.Generator().manual_seed(seed)
    world.reset(seed)
    size, n = world.size, world.num_agents
    for _ in range(15):
        before = world.state["cells"].clone()
        prey = world.state["prey"].clone()
        starts = torch.cat([before, prey], dim=1)[world.length == 0]
        assert all(len(set(row)) == n + 1 for row in starts.tolist()), "agents and prey start on distinct cells"
        step = world.step(actions_of(world, generator))
        after = world.state["cells"]
        going_on = ~step.done
        assert ((after >= 0) & (after < size**2)).all()
        distance = (after // size - before // size).abs() + (after % size - before % size).abs()
        assert (distance[going_on] <= 1).all(), "one cell per step"
        assert torch.equal(world.state["prey"][going_on], prey[going_on]), "the prey stays where it is"
        assert (distance[going_on] == 0)[(before == prey)[going_on]].all(), "agents on the prey stay there"
        assert (step.truncated == ((step.length == world.max_steps) & ~step.terminated)).all()
        assert (step.reward >= -0.05 - 1e-7).all()
        assert (step.reward <= (0.05 * n + 1e-6 if arguments.get("mode") == "cooperative" else 0.05)).all()
        if arguments.get("mode") in ("cooperative", "competitive"):
            assert not step.terminated.any(), "only max_steps ends these episodes"
        else:
            assert torch.equal(step.terminated, step.success)
            assert (step.reward[step.terminated] == 0).all()


@given(worlds(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_indices_say_what_dense_says(case: tuple[str, dict[str, Any]], seed: int) -> None:
    name, arguments = case
    dense, compact = make(name, 6, **arguments), make(name, 6, observation="indices", **arguments)
    dense.reset(seed)
    # Random cells, not a random start: agents may share cells with each other and with the prey.
    generator = torch.Generator().manual_seed(seed)
    dense.state["cells"] = torch.randint(dense.size**2, dense.state["cells"].shape, generator=generator)
    compact.state = dense.state
    observation = compact.observe()
    assert compact.layout.width == dense.num_agents + 1
    assert (observation < compact.layout.vocabulary).all()
    np.testing.assert_array_equal(reconstruct(compact, observation.numpy()), dense.observe().numpy())


@pytest.mark.parametrize("name", ["predator_prey", "predator_capture_prey"])
def test_every_cell_is_an_equally_likely_start(name: str) -> None:
    world = make(name, 20_000, size=3, observation="indices")
    world.reset(seed=0)
    for cells in (world.state["cells"][:, 0], world.state["cells"][:, -1], world.state["prey"][:, 0]):
        counts = torch.bincount(cells, minlength=9)
        chi_square = ((counts - 20_000 / 9) ** 2 / (20_000 / 9)).sum()
        assert chi_square < 26.1, "0.1% point of chi-square with 8 degrees of freedom"


@pytest.mark.parametrize("observation", ["dense", "indices"])
@pytest.mark.parametrize("name", ["predator_prey", "predator_capture_prey"])
def test_final_observation_is_kept_when_the_world_restarts(name: str, observation: str) -> None:
    world = make(name, 3, max_steps=2, observation=observation)
    world.reset(seed=0)
    stay = torch.full((3, world.num_agents), STAY)
    first = world.step(stay).observation
    step = world.step(stay)
    assert step.truncated.all()
    assert torch.equal(step.final_observation, first), "nobody moved in the old episode"
    assert not torch.equal(step.observation, first), "the new episode starts elsewhere"
    assert torch.equal(world.length, torch.zeros(3, dtype=torch.int64))


def test_arriving_on_the_last_step_is_termination_not_truncation() -> None:
    world = make("predator_prey", predators=1, max_steps=1)
    world.reset(scene={"positions": [[0, 0]], "prey": [[0, 1]]})
    step = world.step(torch.tensor([[1]]))
    assert bool(step.terminated)
    assert not bool(step.truncated)
    assert bool(step.success)


def test_capture_needs_a_capture_agent_on_the_prey() -> None:
    world = make("predator_capture_prey", perception_agents=1, capture_agents=1, reward_scheme="split")
    world.reset(scene={"positions": [[2, 2], [2, 1]], "prey": [[2, 2]]})
    step = world.step(torch.tensor([[CAPTURE_ACTION, CAPTURE_ACTION]]))
    assert not step.success.any(), "the capture agent was one cell away and a perception agent cannot capture"
    assert step.active.tolist() == [[False, True]]
    step = world.step(torch.tensor([[STAY, 1]]))
    assert step.reward.tolist() == [[0.0, pytest.approx(-0.025)]], "arrived, not yet captured"
    step = world.step(torch.tensor([[STAY, 1]]))
    assert world.scene(0)["agents"] == [[2, 2], [2, 2]], "cannot leave the prey"
    step = world.step(torch.tensor([[STAY, CAPTURE_ACTION]]))
    assert step.reward.tolist() == [[0.0, 0.0]]
    assert bool(step.terminated)
    assert world.state["captured"].sum() == 0, "the next episode starts without captures"


def test_saved_state_continues_identically() -> None:
    world, other = (make("predator_capture_prey", 5, max_steps=4) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    world.reset(seed=1)
    world.step(actions_of(world, generator))
    saved = world.snapshot()
    joint = [actions_of(world, generator) for _ in range(12)]
    expected = [world.step(actions).observation for actions in joint]
    other.restore(saved)
    for actions, observation in zip(joint, expected, strict=True):
        assert torch.equal(other.step(actions).observation, observation)


def test_another_seed_starts_elsewhere() -> None:
    world = make("predator_prey", 8)
    assert torch.equal(world.reset(seed=1), world.reset(seed=1))
    assert not torch.equal(world.reset(seed=1), world.reset(seed=2))


GOOD = {"positions": [[0, 0], [1, 1], [2, 2]], "prey": [[3, 3]]}


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        (GOOD | {"pray": [[1, 1]]}, "unknown key 'pray'"),
        ({"positions": GOOD["positions"]}, "'prey' is missing"),
        (GOOD | {"positions": [[0, 0]]}, r"'positions' must be 3 \[row, column\] pairs"),
        (GOOD | {"positions": [[0, 0], [1, 1], [2]]}, r"'positions' must be 3 \[row, column\] pairs"),
        (GOOD | {"prey": [[0.5, 0]]}, "pairs of integers"),
        (GOOD | {"prey": [[True, False]]}, "pairs of integers"),
        (GOOD | {"prey": [[0, 5]]}, "must lie in 0 .. 4"),
        (GOOD | {"prey": [[-1, 0]]}, "must lie in 0 .. 4"),
        (GOOD | {"prey": "corner"}, "pairs of integers"),
    ],
)
def test_impossible_scenes_are_refused(scene: dict[str, Any], message: str) -> None:
    world = make("predator_prey")
    start = world.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        world.reset(scene=scene)
    assert torch.equal(world.observe(), start), "a refused scene changes nothing"


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (torch.zeros(2, 2, dtype=torch.int64), r"shape \(2, 3\)"),
        (torch.zeros(2, 3), "integers"),
        (torch.full((2, 3), 5), "0 .. 4"),
        (torch.full((2, 3), -1), "0 .. 4"),
    ],
)
def test_bad_actions_are_refused(actions: torch.Tensor, message: str) -> None:
    world = make("predator_prey", 2)
    world.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        world.step(actions)


@pytest.mark.parametrize(
    "arguments", [{"size": 1}, {"predators": 0}, {"vision": -1}, {"mode": "mixd"}, {"max_steps": 0}, {"sise": 5}]
)
def test_bad_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        build_config("environment", "predator_prey", arguments)


def test_more_agents_than_cells_are_refused() -> None:
    with pytest.raises(ConfigError, match="distinct cells"):
        build_config("environment", "predator_prey", {"size": 2, "predators": 4})


def test_text_shows_agents_prey_and_links() -> None:
    world = make("predator_capture_prey")
    world.reset(scene={"positions": [[0, 0], [0, 0], [4, 4]], "prey": [[2, 3]]})
    text = world.render(0, "ansi", [DrawnMessage(0, 2), DrawnMessage(2, 1, "forged")])
    lines = text.splitlines()
    assert lines[0].split() == ["01", ".", ".", ".", "."]
    assert lines[2].split() == [".", ".", ".", "*", "."]
    assert lines[4].split()[4] == "2"
    assert lines[-2:] == ["perception_0 -> capture_0: delivered", "capture_0 -> perception_1: forged"]


@pytest.mark.parametrize("fate", list(FATE_COLORS))
def test_picture_shows_links_in_the_color_of_their_fate(fate: Any) -> None:
    world = make("predator_prey")
    world.reset(scene={"positions": [[0, 0], [4, 4], [0, 0]], "prey": [[2, 3]]})
    plain = world.render(0, "rgb_array")
    linked = world.render(0, "rgb_array", [DrawnMessage(0, 1, fate), DrawnMessage(2, 0, fate)])
    assert plain.dtype == np.uint8
    assert plain.shape == linked.shape
    assert plain.shape[2] == 3
    changed = (plain != linked).any(-1)
    assert changed.sum() > 100
    assert (linked[changed] == FATE_COLORS[fate]).all()
    with pytest.raises(ValueError, match="'ansi' or 'rgb_array'"):
        world.render(0, "human")  # type: ignore[arg-type]
