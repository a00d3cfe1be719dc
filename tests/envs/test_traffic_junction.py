"""Traffic Junction: roads, rules, observations, and the known success of scripted drivers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from plain_junction import PlainJunction
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.base.registry import build_config
from agentcomm.pettingzoo.view import view
from envs.traffic.roads import MAPS, Difficulty, routes_of
from envs.traffic.scripted import always, at_random, careful, informed
from envs.traffic.traffic_junction import BRAKE, GAS, TrafficJunction


def make(num_worlds: int = 1, **arguments: Any) -> TrafficJunction:
    config = build_config("environment", "traffic_junction", {"observation": "indices"} | arguments)
    return TrafficJunction(config, num_worlds)


def scene(world: TrafficJunction, *cars: tuple[int, int]) -> TrafficJunction:
    world.reset(seed=0, scene={"cars": [list(car) for car in cars]})
    return world


# ---- roads


def straight(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    (row, column), cells = start, [start]
    while (row, column) != end:
        row += (end[0] > row) - (end[0] < row)
        column += (end[1] > column) - (end[1] < column)
        cells.append((row, column))
    return cells


def test_easy_roads_cross_once() -> None:
    assert routes_of(MAPS["easy"]) == [[tuple(straight((0, 3), (6, 3)))], [tuple(straight((3, 0), (3, 6)))]]


def test_medium_routes_go_straight_on_then_right_then_left() -> None:
    corners: list[list[list[tuple[int, int]]]] = [
        [[(0, 6), (13, 6)], [(0, 6), (6, 6), (6, 0)], [(0, 6), (7, 6), (7, 13)]],
        [[(13, 7), (0, 7)], [(13, 7), (7, 7), (7, 13)], [(13, 7), (6, 7), (6, 0)]],
        [[(7, 0), (7, 13)], [(7, 0), (7, 6), (13, 6)], [(7, 0), (7, 7), (0, 7)]],
        [[(6, 13), (6, 0)], [(6, 13), (6, 7), (0, 7)], [(6, 13), (6, 6), (13, 6)]],
    ]
    for routes, expected in zip(routes_of(MAPS["medium"]), corners, strict=True):
        for route, (start, *others) in zip(routes, expected, strict=True):
            cells = [start]
            for corner in others:
                cells += straight(cells[-1], corner)[1:]
            assert list(route) == cells


def test_hard_routes_turn_at_most_twice_and_keep_to_their_lanes() -> None:
    plan = MAPS["hard"]
    routes = routes_of(plan)
    assert [len(some) for some in routes] == [7] * 8
    ends = set()
    for start, some in zip(plan.arrivals, routes, strict=True):
        assert len(set(some)) == 7
        for route in some:
            assert route[0] == start
            assert len(set(route)) == len(route)
            moves = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(route)]
            for (row, column), move in zip(route, moves, strict=False):
                assert move in (plan.rows.get(row), plan.columns.get(column))
            assert sum(a != b for a, b in pairwise(moves)) <= 2
            ends.add(route[-1])
            assert {0, 17} & set(route[-1])
    assert len(ends) == 8
    assert ends.isdisjoint(plan.arrivals)
    # From the top left: straight on to the lower junction and there straight on, right or left; right at once; left to
    # the junction on the right and there straight on, right or left.
    assert [route[-1] for route in routes[0]] == [(17, 4), (12, 0), (13, 17), (4, 0), (5, 17), (17, 12), (0, 13)]


# ---- rules


@pytest.mark.parametrize("rate", [None, 0.9])
@pytest.mark.parametrize(("difficulty", "vision"), [("easy", 0), ("easy", 2), ("medium", 1), ("hard", 1)])
def test_equals_a_plain_implementation(difficulty: Difficulty, vision: int, rate: float | None) -> None:
    plan = MAPS[difficulty]
    shape = {"difficulty": difficulty, "vision": vision, "arrival": rate}
    compact, dense = make(**shape), make(observation="dense", **shape)
    routes = [[list(route) for route in some] for some in routes_of(plan)]
    plain = PlainJunction(routes, plan.cars, plan.rate if rate is None else rate, vision, plan.size)
    compact.reset(seed=3)
    dense.reset(seed=3)
    lots = torch.Generator().manual_seed(3)
    drivers = torch.Generator().manual_seed(4)
    for _ in range(plan.max_steps):
        actions = (torch.rand(1, plan.cars, generator=drivers) < 0.25).long()
        step = compact.step(actions, auto_reset=False)
        same = dense.step(actions, auto_reset=False)
        draws = torch.rand(1, 2 * len(routes) + plan.cars, generator=lots)[0].tolist()
        rewards, left = plain.step(actions[0].tolist(), draws)
        assert step.reward[0].tolist() == pytest.approx(rewards, abs=1e-6)
        assert step.left[0].tolist() == left
        assert bool(step.success[0]) == (not plain.collided)
        assert compact.alive[0].tolist() == [car is not None for car in plain.slots]
        assert step.observation[0].tolist() == plain.indices()
        torch.testing.assert_close(same.observation[0], torch.tensor(plain.dense()))
        assert compact.observe().lt(compact.layout.vocabulary).all()
    assert bool(step.done[0])


def test_nobody_is_there_at_first() -> None:
    world = make(4)
    assert (world.reset(seed=0) == -1).all()
    assert not world.alive.any()
    assert not world.step(torch.zeros(4, 5, dtype=torch.int64)).active.any()


def test_the_last_free_slot_goes_to_the_first_arrival() -> None:
    world = scene(make(500, arrival=1.0), (0, 1), (0, 3), (1, 1), (1, 3))
    world.step(torch.full((500, 5), BRAKE))
    assert (world.state["route"][:, 4] == 0).all()
    assert world.alive.all()


def test_a_slot_is_taken_again_in_the_step_in_which_it_gets_free() -> None:
    world = scene(make(arrival=1.0), (0, 6), (0, 1), (0, 3), (1, 1), (1, 5))
    step = world.step(torch.tensor([[GAS, BRAKE, BRAKE, BRAKE, BRAKE]]))
    assert step.left.tolist() == [[True, False, False, False, False]]
    assert world.alive.all()
    assert world.state["route"][0, 0] == 0, "another car"
    assert world.state["waited"][0].tolist() == [0, 1, 1, 1, 1]
    assert step.reward[0].tolist() == pytest.approx([0.0, *[-0.01] * 4])


def test_free_slots_are_taken_at_random() -> None:
    world = make(4000, arrival=1.0)
    world.reset(seed=0)
    world.step(torch.zeros(4000, 5, dtype=torch.int64))
    assert (world.alive.sum(1) == 2).all()
    assert world.alive.float().mean(0).tolist() == pytest.approx([0.4] * 5, abs=0.03)
    first = world.state["route"] == 0
    assert first.float().mean(0).tolist() == pytest.approx([0.2] * 5, abs=0.03)


def test_routes_are_drawn_at_random() -> None:
    world = make(3000, difficulty="hard", arrival=1.0)
    world.reset(seed=0)
    world.step(torch.zeros(3000, 20, dtype=torch.int64))
    routes = world.state["route"][world.alive]
    assert torch.bincount(routes, minlength=56).float().div(3000).tolist() == pytest.approx([1 / 7] * 56, abs=0.03)


def test_collisions_cost_in_every_step_and_end_nothing() -> None:
    world = scene(make(arrival=0.0), (0, 2), (1, 2), (0, 0))
    rewards = []
    for actions in ([GAS, GAS, BRAKE], [BRAKE] * 3, [BRAKE] * 3, [GAS] * 3):
        step = world.step(torch.tensor([[*actions, GAS, GAS]]))
        rewards.append(step.reward[0, :3].tolist())
        assert not step.done.any()
    together = [pytest.approx([-10 - 0.01 * t, -10 - 0.01 * t, -0.01 * t], abs=1e-5) for t in (1, 2, 3)]
    assert rewards == [*together, pytest.approx([-0.04] * 3)]
    assert world.state["collisions"].tolist() == [6]
    assert not world.success().any()


def test_cars_that_pass_each_other_do_not_collide() -> None:
    """Two cars turn left at once: one from the top through (7, 6), the other from the bottom through (6, 7)."""
    world = scene(make(difficulty="medium", arrival=0.0), (2, 6), (5, 6))
    for expected in ([(7, 6), (6, 7)], [(7, 7), (6, 6)], [(7, 8), (6, 5)]):
        step = world.step(torch.full((1, 10), GAS))
        assert [world.roads.cells[cell] for cell in world.cells[0, :2].tolist()] == expected
    assert step.success.all()


def test_an_arrival_in_a_taken_cell_is_a_collision_that_only_the_other_is_charged_for() -> None:
    world = scene(make(arrival=1.0), (0, 0))
    step = world.step(torch.full((1, 5), BRAKE))
    assert not step.success.any()
    assert step.reward[0, 0] == pytest.approx(-10.01)
    assert (step.reward[0, 1:] == 0).all()
    again = world.step(torch.full((1, 5), BRAKE))
    charged = again.reward[0] < -9
    assert charged[world.state["route"][0] == 0][:2].all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"car": []}, "one key 'cars'"),
        ({"cars": [[0, 0]] * 6}, "at most 5"),
        ({"cars": [[2, 0]]}, "route below 2"),
        ({"cars": [[0, 7]]}, "place on it"),
        ({"cars": [[0, True]]}, "place on it"),
    ],
)
def test_impossible_scenes_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make().reset(scene=given)


def test_sizes_follow_from_the_difficulty() -> None:
    for name, plan in MAPS.items():
        world = make(difficulty=name)
        assert (world.num_agents, world.max_steps, world.rate) == (plan.cars, plan.max_steps, plan.rate)
    assert make(difficulty="hard", max_steps=7).max_steps == 7
    with pytest.raises(ConfigError, match="difficulty"):
        make(difficulty="harder")
    with pytest.raises(ConfigError, match="members cannot fail"):
        make(failure=0.1)


# ---- what drivers achieve


def success(drive: Callable[[TrafficJunction], Tensor], episodes: int, **arguments: Any) -> float:
    world = make(episodes, **arguments)
    world.reset(seed=0)
    for _ in range(world.max_steps):
        step = world.step(drive(world), auto_reset=False)
    return float(step.success.float().mean())


CASES = [("easy", 0.3), ("easy", 0.1), ("medium", 0.2), ("medium", 0.05), ("hard", 0.05), ("hard", 0.02)]


# IC3Net's released environment, 1,500 to 3,000 episodes: .292, .034, .734, .072, .637.
@pytest.mark.parametrize(
    ("case", "expected"), list(zip(CASES, (0.287, 0.843, 0.034, 0.731, 0.073, 0.635), strict=True))
)
def test_always_going_succeeds_as_in_the_released_environment(case: tuple[str, float], expected: float) -> None:
    episodes = {"easy": 4000, "medium": 2000, "hard": 500}[case[0]]
    error = 4 * (expected * (1 - expected) / episodes) ** 0.5
    assert success(always, episodes, difficulty=case[0], arrival=case[1]) == pytest.approx(expected, abs=error)


@pytest.mark.parametrize(("rate", "random", "silent", "told"), [(0.3, 0.01, 0.61, 0.998), (0.1, 0.43, 0.96, 1.0)])
def test_easy_floors(rate: float, random: float, silent: float, told: float) -> None:
    dice = partial(at_random, generator=torch.Generator().manual_seed(0))
    assert success(dice, 2000, arrival=rate) == pytest.approx(random, abs=0.02)
    assert success(careful, 4000, arrival=rate) == pytest.approx(silent, abs=0.03)
    assert success(informed, 4000, arrival=rate) == pytest.approx(told, abs=0.004)


@pytest.mark.parametrize("difficulty", ["medium", "hard"])
def test_on_larger_maps_informed_drivers_hardly_ever_collide_and_random_ones_do(difficulty: str) -> None:
    assert success(informed, 100, difficulty=difficulty) >= 0.99
    dice = partial(at_random, generator=torch.Generator().manual_seed(0))
    assert success(dice, 100, difficulty=difficulty) == 0.0


def test_the_careful_driver_knows_the_easy_map_only() -> None:
    with pytest.raises(ValueError, match="easy map only"):
        careful(make(difficulty="medium"))


# ---- drawing


def test_drawings_show_roads_cars_and_collisions() -> None:
    env = view("traffic_junction", render_mode="ansi")
    env.reset(seed=0, options={"cars": [[0, 3], [1, 3], [0, 0]]})
    text = env.render().splitlines()
    assert text[0].split() == ["2"]
    assert text[3].split() == [".", ".", ".", "0,1", ".", ".", "."]
    assert text[7:] == ["car_0 on route 0, collided", "car_1 on route 1, collided", "car_2 on route 0"]
    picture = view("traffic_junction", difficulty="medium", render_mode="rgb_array")
    picture.reset(seed=0)
    assert picture.render().shape == (14 * 48 + 1, 14 * 48 + 1, 3)
