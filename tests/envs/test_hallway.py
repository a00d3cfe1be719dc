"""Hallway and Hallway-C: rules, closed forms, and what scripted agents reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from talk import within_error
from torch import Tensor

from envs import hallway, hallway_c
from envs.hallway import LEFT, Hallway, HallwayConfig
from envs.hallway_c import HallwayC, HallwayCConfig

EPISODES = 4_000
SETTINGS = [(6, 6), (2, 6, 10), (4, 5, 6), (3, 3, 4, 4)]


def make(worlds: int = 1, **arguments: Any) -> Hallway:
    return Hallway(HallwayConfig(**arguments), worlds)


def make_c(worlds: int = 1, **arguments: Any) -> HallwayC:
    return HallwayC(HallwayCConfig(**arguments), worlds)


def wins(world: Hallway, act: Callable[[], Tensor]) -> Tensor:
    """[B] bool, successes of one episode per world."""
    world.reset(seed=0)
    done = torch.zeros(world.num_worlds, dtype=torch.bool)
    won = done.clone()
    while not done.all():
        step = world.step(act(), auto_reset=False)
        won |= step.success & ~done
        assert torch.equal(step.reward[~done], step.success[~done].float().unsqueeze(1).expand_as(step.reward[~done]))
        done |= step.done
    return won


def at_random(world: Hallway) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(1)
    return lambda: torch.randint(3, world.state["places"].shape, generator=generator)


@pytest.mark.parametrize("lengths", SETTINGS)
def test_a_clock_or_messages_solve_hallway_and_nothing_else_does(lengths: tuple[int, ...]) -> None:
    """The clock wins all episodes without a message."""
    world = make(EPISODES, lengths=lengths)
    assert wins(world, lambda: hallway.by_clock(world)).all()
    assert wins(world, lambda: hallway.by_places(world)).all()
    within_error(wins(world, lambda: hallway.go_left(world)), hallway.expected(world.config, "left"))
    within_error(wins(world, at_random(world)), hallway.expected(world.config, "random"))


@pytest.mark.parametrize("lengths", SETTINGS)
def test_only_messages_solve_hallway_c(lengths: tuple[int, ...]) -> None:
    world = make_c(EPISODES, lengths=lengths)
    assert wins(world, lambda: hallway_c.told(world)).all()
    for arrival in (max(lengths), max(lengths) + 4):
        silent = wins(world, lambda arrival=arrival: hallway.by_clock(world, arrival))  # type: ignore[misc]
        within_error(silent, hallway_c.expected(world.config, "silent"))
    easy = make_c(EPISODES, lengths=lengths, start=1, times=2)
    within_error(wins(easy, at_random(easy)), hallway_c.expected(easy.config, "random"))


def test_an_impostor_of_the_informed_agent_costs_every_episode() -> None:
    """Agents that are told a later time than the informed one knows never succeed."""
    world = make_c(500)

    def misled() -> Tensor:
        left = (world.state["go"] - world.length).unsqueeze(1) + ~world.knowing
        return torch.where(world.state["places"] >= left, LEFT, 0)

    assert not wins(world, misled).any()


def test_the_first_at_the_end_ends_the_episode() -> None:
    world = make(lengths=(2, 3))
    world.reset(scene={"places": [1, 3]})
    step = world.step(torch.tensor([[1, 2]]), auto_reset=False)
    assert step.terminated.all()
    assert not step.success.any()
    assert step.reward.sum() == 0
    world.reset(scene={"places": [2, 3]})
    step = world.step(torch.tensor([[2, 0]]), auto_reset=False)
    assert world.state["places"].tolist() == [[2, 3]], "there is no place beyond the last one"
    for action in ([0, 1], [1, 1], [1, 1]):
        assert not step.done.any()
        step = world.step(torch.tensor([action]), auto_reset=False)
    assert step.success.all()
    assert step.reward.tolist() == [[1, 1]]
    assert make(lengths=(2, 3)).max_steps == 13


def test_arriving_together_before_the_go_time_is_no_success() -> None:
    world = make_c(lengths=(1, 2), times=3)
    world.reset(scene={"places": [1, 1], "go": 2, "informed": 1})
    step = world.step(torch.tensor([[1, 1]]), auto_reset=False)
    assert step.terminated.all()
    assert not step.success.any()
    world.reset(scene={"places": [1, 2], "go": 2, "informed": 1})
    world.step(torch.tensor([[0, 1]]), auto_reset=False)
    assert world.step(torch.tensor([[1, 1]]), auto_reset=False).success.all()


def test_the_informed_agent_alone_observes_the_time_left() -> None:
    world = make_c(lengths=(1, 2), times=3, observation="indices", max_steps=6)
    world.reset(scene={"places": [1, 2], "go": 4, "informed": 1})
    first, second = world.observe()[0].tolist()
    assert first == [1, 3, -1], "place, step 0, nothing"
    assert second == [2, 3, 10 + 4], "place, step 0, four steps left"
    world.step(torch.zeros(1, 2, dtype=torch.int64))
    assert world.observe()[0].tolist() == [[1, 4, -1], [2, 4, 10 + 3]]
    assert world.facts()["informed"].tolist() == [[0, 1]]
    assert world.facts()["go"].tolist() == [[-1, 2]]


@given(st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=30), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_places_stay_on_their_lines(actions: list[list[int]], seed: int) -> None:
    for world in (make(3, lengths=(1, 3, 4)), make_c(3, lengths=(1, 3, 4), times=2)):
        world.reset(seed)
        for joint in actions:
            step = world.step(torch.tensor([joint]).expand(3, -1))
            assert bool(((world.state["places"] >= 1) & (world.state["places"] <= world.lengths)).all())
            assert bool((step.success <= step.terminated).all())


@pytest.mark.parametrize("scene", [{}, {"places": [0, 1]}, {"places": [1, 4]}, {"places": [1]}, {"places": 1}])
def test_impossible_scenes_are_refused(scene: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="scene:"):
        make(lengths=(2, 3)).reset(scene=scene)


@pytest.mark.parametrize("change", [{"go": 2}, {"go": 5}, {"informed": 2}, {"informed": True}, {"places": [0, 0]}])
def test_impossible_times_are_refused(change: dict[str, Any]) -> None:
    scene = {"places": [1, 1], "go": 3, "informed": 0} | change
    with pytest.raises(ValueError, match="scene:"):
        make_c(lengths=(2, 3), times=2).reset(scene=scene)


def test_they_can_be_drawn() -> None:
    world = make_c(lengths=(1, 3), times=2)
    world.reset(scene={"places": [1, 2], "go": 4, "informed": 1})
    lines = world.render(0, "ansi").splitlines()
    assert lines == [
        "|o    agent_0 at 1",
        "|.o.  agent_1 at 2",
        "agent_1 knows the go-time 4; 0 steps are over",
    ]
    picture = world.render(0, "rgb_array")
    assert picture.shape == (97, 193, 3)
    with pytest.raises(ValueError, match="render mode"):
        world.render(0, "human")  # type: ignore[arg-type]
