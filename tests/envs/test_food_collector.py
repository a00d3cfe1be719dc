"""Food Collector: sensors, moves and rewards by the rules, and the floors of scripted teams."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agentcomm.base.errors import ConfigError
from envs.food.food_collector import BODY, FOOD, FoodCollector, FoodCollectorConfig
from envs.food.scripted import Collectors
from envs.food.sensing import CENTER, OBSTACLE, TRIES, outside, rays, to_discs, to_walls

RIGHT, LEFT, UP, DOWN = range(1, 5)
SCENE = {"agents": [[0.1, 0.1], [0.9, 0.9]], "food": [[0.1, 0.25], [0.2, 0.1]], "poison": [[0.9, 0.1]]}


def make(worlds: int = 1, **arguments: Any) -> FoodCollector:
    return FoodCollector(FoodCollectorConfig(**arguments), worlds)


def play(world: FoodCollector, team: Literal["knowing", "told", "silent"] | None) -> tuple[Tensor, Tensor]:
    """Mean returns [B] of the agents and successes [B]; at random without a team."""
    world.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    script = Collectors(world, team) if team else None
    shape = world.state["eaten"].shape
    total, done = torch.zeros(world.num_worlds), torch.zeros(world.num_worlds, dtype=torch.bool)
    while not done.all():
        step = world.step(script.act() if script else torch.randint(9, shape, generator=generator), auto_reset=False)
        total += step.reward.mean(1) * ~done
        done |= step.done
    return total, step.success


def test_floors() -> None:
    """The numbers of the module's page; all scripted teams find all of their food."""
    found = {}
    for team in ("knowing", "told", "silent"):
        total, success = play(make(150), team)  # type: ignore[arg-type]
        assert success.all()
        found[team] = float(total.mean())
    assert found == pytest.approx({"knowing": 3.3, "told": 0.8, "silent": -7.0}, abs=0.7)
    assert float(play(make(20), None)[0].mean()) == pytest.approx(-89.6, abs=4)


def test_sensors_meet_discs_and_walls() -> None:
    device = torch.device("cpu")
    ahead = to_discs(torch.tensor([[0.1, 0.02], [0.1, 0.04], [-0.1, 0.0], [0.25, 0.0]]), 0.03, rays(device))
    assert ahead[:, 0].tolist() == pytest.approx([0.5, 0, 0, 0]), "met, beside it, behind it, too far"
    assert ahead[2, 3] == pytest.approx(0.5)
    walls = to_walls(torch.tensor([[0.9, 0.5], [0.5, 0.5]]), rays(device))
    assert walls[0].tolist() == pytest.approx([0.5, 0, 0, 0, 0, 0], abs=1e-6)
    assert walls[1].tolist() == [0] * 6


def test_what_agents_observe() -> None:
    world = make(members=2)
    world.reset(scene=SCENE)
    seen = world.observe()[0]
    assert seen[0, :7].tolist() == pytest.approx([1, 0, 0.1, 0.1, 0, 0, 0])
    met = seen[:, 7:].view(2, 6, 7)  # [agents, sensors, obstacle wall poison agents own food food]
    assert met[0, 0].tolist() == pytest.approx([0, 0, 0, 0, 0, 0, 0.5]), "the food of the other agent is on the right"
    assert met[0, 3].tolist() == pytest.approx([0, 0.5, 0, 0, 0, 0, 0])
    assert bool((met[1, :, 2:] == 0).all()), "and it does not see it itself"
    world.state["place"][0, 1] = torch.tensor([0.1, 0.1])
    met = world.observe()[0, :, 7:].view(2, 6, 7)
    assert met[1, 0].tolist() == pytest.approx([0, 0, 0, 1, 0.5, 0, 0.5]), "its own, and the other agent"


def test_moves_and_rewards() -> None:
    world = make(members=2)
    world.reset(scene=SCENE)
    step = world.step(torch.tensor([[UP, 0]]), auto_reset=False)
    assert world.state["place"][0].flatten().tolist() == pytest.approx([0.1, 0.15, 0.9, 0.9])
    assert step.reward[0].tolist() == pytest.approx([-0.5 - 0.025, -0.5])
    world.step(torch.tensor([[UP, DOWN]]), auto_reset=False)
    step = world.step(torch.tensor([[5, DOWN]]), auto_reset=False)
    assert world.state["eaten"].tolist() == [[True, False]]
    assert step.reward[0, 0] == pytest.approx(10.01 - 0.5 * 0.025 * 2**0.5)
    step = world.step(torch.tensor([[0, LEFT]]), auto_reset=False)
    assert step.reward[0, 0] == 0
    assert not step.success.any()
    world.state["place"][0, 1] = torch.tensor([0.9, 0.12])
    step = world.step(torch.tensor([[0, 0]]), auto_reset=False)
    assert step.reward[0].tolist() == pytest.approx([0, -1.5]), "poison"
    assert world.state["poison"].tolist() != [[[0.9, 0.1]]]
    world.state["place"][0, 1] = torch.tensor([0.2, 0.1])
    assert world.step(torch.tensor([[0, 0]]), auto_reset=False).success.all()


def test_accelerations_add_up_to_a_largest_speed() -> None:
    world = make(members=2, continuous=True)
    world.reset(scene=SCENE)
    for number in range(1, 8):
        step = world.step(torch.tensor([[[1.0, 0.0], [0.0, -0.5]]]), auto_reset=False)
        assert world.state["velocity"][0, 0].tolist() == pytest.approx([min(0.01 * number, 0.05), 0], abs=1e-6)
        assert world.state["velocity"][0, 1].tolist() == pytest.approx([0, max(-0.005 * number, -0.05)], abs=1e-6)
    assert step.reward[0, 1] == pytest.approx(-0.5 - 0.0025)
    for _ in range(30):
        world.step(torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]), auto_reset=False)
    assert world.state["place"][0, 0, 0] == pytest.approx(1 - BODY)
    assert world.state["velocity"][0, 0, 0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("continuous", [False, True])
@given(st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_agents_stay_outside_of_the_obstacle_and_within_the_walls(continuous: bool, seed: int) -> None:
    world = make(4, members=3, poisons=2, continuous=continuous, max_steps=12)
    world.reset(seed)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(15):
        world.step(world.actions.draw((4, 3), generator, world.device))
        for name, radius in (("place", BODY), ("food", FOOD)):
            where = world.state[name]
            assert bool(((where >= radius - 1e-6) & (where <= 1 - radius + 1e-6)).all())
            assert float((where - CENTER).norm(dim=2).min()) >= OBSTACLE + radius - 1e-5


def test_food_may_be_near_at_first() -> None:
    world = make(500, near=0.1)
    world.reset(seed=0)
    away = (world.state["food"] - world.state["place"]).abs().amax(2)
    assert float((away <= 0.1 + 1e-5).float().mean()) > 0.9, "but for food that would be in the obstacle or in a wall"


def test_places_are_uniform_outside_of_the_obstacle() -> None:
    where = outside(torch.rand(20_000, TRIES, 2, generator=torch.Generator().manual_seed(0)), 0.0)
    assert where.mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.01)
    corner = ((where < 0.2).all(1)).float().mean()
    assert float(corner) == pytest.approx(0.04 / (1 - torch.pi * 0.04), rel=0.1)
    blocked = outside(torch.full((1, TRIES, 2), 0.5), 0.1)
    assert float((blocked - CENTER).norm()) == pytest.approx(0.3, abs=1e-5), "pushed out if every try fails"


@pytest.mark.parametrize("change", [{"agents": [[0, 0]]}, {"food": [[0, 2], [0, 0]]}, {"poison": "a"}, {"x": 1}])
def test_impossible_scenes_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="scene:"):
        make(members=2).reset(scene=SCENE | change)


def test_indices_are_refused() -> None:
    with pytest.raises(ConfigError, match="observation=dense"):
        make(observation="indices")


def test_it_can_be_drawn() -> None:
    world = make(members=2)
    world.reset(scene=SCENE)
    assert world.render(0, "ansi").splitlines()[0] == "collector_0 at 0.10, 0.10, food at 0.10, 0.25"
    assert world.render(0, "rgb_array").shape == (480, 480, 3)
    with pytest.raises(ValueError, match="render mode"):
        world.render(0, "human")  # type: ignore[arg-type]
