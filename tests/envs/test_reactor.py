"""Reactor: who reads whose sensor, what is harm, and the floors of those who know, who are silent, and who sabotage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.base.registry import build_config
from agentcomm.conformance import check_world
from agentcomm.contracts.world import DrawnMessage
from envs.gridworld.drawing import FATE_COLORS
from envs.reactor import CELL, HOLD, OPEN, Reactor, ReactorConfig


def make(num_worlds: int = 1, **arguments: Any) -> Reactor:
    config = build_config("environment", "reactor", arguments)
    assert isinstance(config, ReactorConfig)
    return Reactor(config, num_worlds)


@pytest.mark.parametrize("observation", ["dense", "indices"])
@pytest.mark.parametrize("arguments", [{"members": 2, "margin": 0, "max_steps": 1}, {"members": 5, "slack": 2}])
def test_conforms(arguments: dict[str, Any], observation: str) -> None:
    check_world(lambda num_worlds: make(num_worlds, observation=observation, **arguments))


def play(world: Reactor, act: Callable[[], Tensor]) -> tuple[float, float, float]:
    """Mean reward per agent and step, harm and success per episode, over one episode per world."""
    world.reset(seed=0)
    total, before = 0.0, world.harm
    for _ in range(world.max_steps):
        step = world.step(act(), auto_reset=False)
        total += step.reward.mean().item()
        assert (world.harm >= before).all(), "nothing undoes harm"
        before = world.harm
    assert step.truncated.all()
    return total / world.max_steps, before.float().mean().item(), step.success.float().mean().item()


def test_who_hears_the_reader_of_its_sensor_produces_always_and_harms_never() -> None:
    world = make(500)

    def told() -> Tensor:
        heard = world.observe().argmax(2)[:, world.informative]
        return HOLD + (heard - world.middle).sign()

    assert play(world, told) == (1.0, 0.0, 1.0)


def random_walk(world: Reactor) -> tuple[float, float]:
    """Reward per step and harm per episode of valves that hold, from the chain of one vessel's pressure."""
    levels, law = world.levels, torch.zeros(world.levels, dtype=torch.float64)
    law[world.middle - world.slack : world.middle + world.slack + 1] = 1 / (2 * world.slack + 1)
    move = torch.zeros(levels, levels, dtype=torch.float64)
    for level in range(levels):
        for drift in (-1, 0, 1):
            move[level, min(max(level + drift, 0), levels - 1)] += 1 / 3
    off = (torch.arange(levels) - world.middle).abs()
    produced = harmed = 0.0
    for _ in range(world.max_steps):
        law = law @ move
        produced += float(law[off <= world.slack].sum())
        harmed += float(law[off > world.slack + world.config.margin].sum())  # type: ignore[attr-defined]
    return produced / world.max_steps, world.num_agents * harmed


def test_floor_of_who_holds_is_that_of_the_random_walk() -> None:
    world = make(4_000)
    reward, harm, success = play(world, lambda: torch.full((4_000, 6), HOLD))
    expected = random_walk(world)
    assert reward == pytest.approx(expected[0], abs=0.01)
    assert harm == pytest.approx(expected[1], rel=0.02)
    assert success < 0.01


def test_sabotage_does_far_more_harm_than_silence() -> None:
    world = make(500)
    reward, harm, _ = play(world, lambda: torch.full((500, 6), OPEN))
    assert reward < 0.1
    assert harm > 2.5 * random_walk(world)[1]


def test_the_edges_do_harm_and_what_lies_between_neither_harms_nor_produces() -> None:
    world = make(9, members=2)
    assert (world.levels, world.middle) == (9, 4)
    world.reset(seed=0)
    for b in range(9):
        world.begin(torch.tensor([b]), world.generator, {"pressure": [b, 4]})
    world.state["pressure"][:, 0] = torch.arange(9)
    step = world.step(torch.full((9, 2), HOLD))
    now = world.state["pressure"]
    assert torch.equal(step.reward, ((now >= 3) & (now <= 5)).float())
    assert torch.equal(world.state["damage"], ((now <= 1) | (now >= 7)).long())
    assert torch.equal(world.success(), world.harm == 0)
    assert (world.harm > 0).any()
    world.reset()
    assert not world.harm.any(), "a new episode begins whole"


def test_nobody_reads_its_own_sensor_and_everybody_somebodys() -> None:
    world = make(200, members=5, wiring=3)
    world.reset(seed=0)
    assert sorted(world.informative.tolist()) == list(range(5))
    assert (world.informative != torch.arange(5)).all()
    assert torch.equal(world.observe().argmax(2)[:, world.informative], world.state["pressure"])
    indices = make(200, members=5, wiring=3, observation="indices")
    assert torch.equal(indices.reset(seed=0).squeeze(2), world.observe().argmax(2))
    assert torch.equal(world.facts()["reading"], world.observe().argmax(2))


def test_a_recorded_episode_is_played_again() -> None:
    """Worked out by hand with the drifts that the seed draws."""
    world = make(members=2)
    world.reset(scene={"pressure": [4, 6]})
    world.generator.manual_seed(1)
    drifts = torch.randint(-1, 2, (3, 1, 2), generator=torch.Generator().manual_seed(1))[:, 0].tolist()
    pressure, damage = [4, 6], [0, 0]
    for drift, actions in zip(drifts, ([0, 2], [0, 0], [1, 0]), strict=True):
        world.step(torch.tensor([actions]))
        pressure = [min(max(p + d + 1 - a, 0), 8) for p, d, a in zip(pressure, drift, actions, strict=True)]
        damage = [h + (p in (0, 1, 7, 8)) for h, p in zip(damage, pressure, strict=True)]
        shown = world.scene(0)
        assert (shown["pressure"], shown["damage"], shown["valves"]) == (pressure, damage, actions)
    assert int(world.harm[0]) == sum(damage)


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        ({"level": [4, 4, 4]}, "one key 'pressure', not \\['level'\\]"),
        ({"pressure": [4, 4]}, "list of 3 pressures 0 .. 8"),
        ({"pressure": [4, 4, 9]}, "list of 3 pressures"),
        ({"pressure": [4, 4, 1.0]}, "list of 3 pressures"),
        ({"pressure": 2}, "list of 3 pressures"),
    ],
)
def test_impossible_scenes_are_refused(scene: dict[str, Any], message: str) -> None:
    world = make(members=3)
    start = world.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        world.reset(scene=scene)
    assert torch.equal(world.observe(), start), "a refused scene changes nothing"


@pytest.mark.parametrize("arguments", [{"members": 1}, {"slack": 0}, {"margin": -1}, {"max_steps": 0}])
def test_bad_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        build_config("environment", "reactor", arguments)


def test_text_and_picture_show_pressures_and_links() -> None:
    world = make(members=3)
    world.reset(scene={"pressure": [4, 0, 8]})
    lines = world.render(0, "ansi", [DrawnMessage(0, 1, "dropped")]).splitlines()
    assert lines[1].startswith("agent_1: pressure 0, read by agent_")
    assert lines[1].endswith("harm 0, valve untouched")
    assert lines[3] == "agent_0 -> agent_1: dropped"
    world.step(torch.tensor([[1, 2, 0]]))
    assert world.render(0, "ansi").splitlines()[1].endswith("harm 1, valve open")
    picture = world.render(0, "rgb_array", [DrawnMessage(2, 0, "forged")])
    assert picture.shape == (3 * CELL, (3 + 9) * CELL, 3)
    assert (picture[0, 2 * CELL] == FATE_COLORS["forged"]).all()
    dot = (3 + int(world.state["pressure"][0, 1])) * CELL + CELL // 2
    assert (picture[CELL + CELL // 2, dot] == 0).all()
    with pytest.raises(ValueError, match="'ansi' or 'rgb_array'"):
        world.render(0, "human")  # type: ignore[arg-type]
