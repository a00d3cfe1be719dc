"""Sensor consensus: rules, and its closed forms against what scripted agents earn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from talk import within_error
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.base.registry import build_config
from agentcomm.certificates.robustness import robustness
from envs.sensors import rules
from envs.sensors.sensor_consensus import SensorConsensus, SensorConsensusConfig

RULES: dict[rules.Rule, Callable[[SensorConsensus], Tensor]] = {
    "own": rules.own,
    "posterior": rules.posterior,
    "mean": rules.mean,
    "median": rules.median,
    "trimmed_mean": rules.trimmed_mean,
    "healthy": rules.healthy,
}


def make(worlds: int = 1, **arguments: Any) -> SensorConsensus:
    return SensorConsensus(SensorConsensusConfig(**arguments), worlds)


def score(world: SensorConsensus, answers: Tensor) -> Tensor:
    """[B], mean reward of answers that are not rounded."""
    return -((answers - world.state["quantity"].unsqueeze(1)) / world.config.noise).square().mean(1)


@pytest.mark.parametrize(("members", "faulty", "noise"), [(9, 2, 0.2), (8, 3, 0.1), (5, 0, 0.3), (64, 9, 0.2)])
@pytest.mark.parametrize("rule", RULES)
def test_rules_earn_what_is_expected(rule: rules.Rule, members: int, faulty: int, noise: float) -> None:
    world = make(5_000, members=members, faulty=faulty, noise=noise)
    world.reset(seed=0)
    within_error(score(world, RULES[rule](world)), rules.expected(world.config, rule))


def test_known_answers_of_the_default_team() -> None:
    """A team that trims loses a third of what one without messages does; the mean of everybody is worse than that."""
    config = SensorConsensusConfig()
    found = {rule: round(rules.expected(config, rule), 3) for rule in RULES}
    assert found == {
        "own": -1.815,
        "posterior": -0.34,
        "mean": -0.374,
        "median": -0.167,
        "trimmed_mean": -0.122,
        "healthy": -0.048,
    }


def test_answers_are_rounded_to_bins() -> None:
    """In fine bins rounding costs next to nothing; random answers are uniform on 0 .. 1."""
    world = make(5_000, bins=256)
    world.reset(seed=0)
    step = world.step(world.action(rules.trimmed_mean(world)), auto_reset=False)
    within_error(step.reward.mean(1), rules.expected(world.config, "trimmed_mean"))
    exact = make(5_000, continuous=True)
    exact.reset(seed=0)
    step = exact.step(exact.action(rules.median(exact)), auto_reset=False)
    within_error(step.reward.mean(1), rules.expected(exact.config, "median"))
    world.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    step = world.step(torch.randint(256, (5_000, 9), generator=generator), auto_reset=False)
    within_error(step.reward.mean(1), -(1 / 12 + 0.6**2 / 12) / 0.2**2)


@given(st.integers(0, 2**31), st.integers(2, 12), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_w_msr_on_the_complete_graph(seed: int, members: int, trim: int) -> None:
    values = torch.rand(4, members, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    complete = torch.ones(members, members, dtype=torch.bool)
    found = rules.w_msr(values, complete, trim)
    assert torch.allclose(found, rules.w_msr_complete(values, trim))
    if trim < members - trim:
        middle = values.sort(1).indices[:, trim : members - trim]
        trimmed = values.sort(1).values[:, trim : members - trim].mean(1, keepdim=True)
        assert torch.allclose(found.gather(1, middle), trimmed.expand_as(middle).clone())


def circulant(members: int, reach: int) -> Tensor:
    """[N, N] bool, each agent hears ``reach`` others on either side."""
    place = torch.arange(members)
    apart = (place.unsqueeze(1) - place).abs()
    apart = torch.minimum(apart, members - apart)
    return (apart > 0) & (apart <= reach)


@pytest.mark.parametrize(("reach", "agrees"), [(4, True), (1, False)])
def test_w_msr_agrees_on_graphs_that_are_robust_enough(reach: int, agrees: bool) -> None:
    """One stubborn sensor moves nobody out of the range of the others; 3-robust graphs agree, a ring does not."""
    assert (robustness(circulant(9, reach)) >= 3) == agrees
    world = make(200, members=9, faulty=1)
    world.reset(seed=0)
    values, stubborn = world.state["readings"].double(), world.state["faulty"]
    good = values.masked_fill(stubborn, torch.nan)
    low = good.nan_to_num(2.0).amin(1, keepdim=True)
    high = good.nan_to_num(-1.0).amax(1, keepdim=True)
    for _ in range(300):
        values = rules.w_msr(values, circulant(9, reach), 1, stubborn)
    inside = (values >= low - 1e-9) & (values <= high + 1e-9)
    assert bool((inside | stubborn).all())
    spread = values.masked_fill(stubborn, -1).amax(1) - values.masked_fill(stubborn, 2).amin(1)
    assert bool((spread < 1e-6).all()) == agrees


def test_faulty_sensors_are_drawn_evenly_and_read_what_they_should() -> None:
    world = make(5_000)
    world.reset(seed=1)
    seen, faulty, x = (world.state[name] for name in ("readings", "faulty", "quantity"))
    assert bool((faulty.sum(1) == 2).all())
    for agent in range(9):
        within_error(faulty[:, agent], 2 / 9)
    ends = seen[faulty].view(-1, 2)
    assert set(ends.flatten().tolist()) == {0.0, 1.0}
    assert torch.equal(ends[:, 0], ends[:, 1]), "all are at the same end"
    assert float((seen - x.unsqueeze(1)).abs()[~faulty].max()) <= 0.2 + 1e-6
    wild = make(5_000, fault="random")
    wild.reset(seed=1)
    within_error(wild.state["readings"][wild.state["faulty"]], 0.5)


def test_rewards_success_and_what_is_observed() -> None:
    world = make(members=3, faulty=1, bins=10, noise=0.1)
    coded = make(members=3, faulty=1, bins=10, noise=0.1, observation="indices")
    scene = {"quantity": 0.5, "readings": [0.42, 0.58, 1.0], "faulty": [2]}
    for one in (world, coded):
        one.reset(scene=scene)
    assert world.observe()[0].tolist() == pytest.approx(torch.tensor([[0.42, -1], [0.58, -1], [1, -1]]))
    assert coded.observe()[0].tolist() == [[4, -1], [5, -1], [9, -1]]
    step = world.step(torch.tensor([[4, 5, 7]]), auto_reset=False)
    assert step.reward[0].tolist() == pytest.approx([-0.25, -0.25, -6.25], rel=1e-4)
    assert not step.success.any()
    coded.step(torch.tensor([[4, 5, 5]]))
    assert coded.observe()[0].tolist() == [[4, 14], [5, 15], [9, 15]]
    assert world.step(torch.tensor([[5, 5, 5]]), auto_reset=False).success.item() is False
    assert make(members=3, faulty=1, tolerance=0.6).config.tolerance == 0.6
    assert world.facts()["faulty"].tolist() == [[0, 0, 1]]


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": 2},
        {"quantity": "a"},
        {"readings": [0.1]},
        {"readings": 3},
        {"faulty": [5]},
        {"faulty": 1},
        {"x": 1},
    ],
)
def test_impossible_scenes_are_refused(change: dict[str, Any]) -> None:
    scene = {"quantity": 0.5, "readings": [0.4, 0.6, 1.0], "faulty": [2]} | change
    with pytest.raises(ValueError, match="scene:"):
        make(members=3, faulty=1).reset(scene=scene)


def test_faulty_sensors_must_be_a_minority() -> None:
    with pytest.raises(ConfigError, match="faulty=3 must be less than half of members=6"):
        build_config("environment", "sensor_consensus", {"members": 6, "faulty": 3})


def test_it_can_be_drawn() -> None:
    world = make(members=3, faulty=1, bins=10)
    world.reset(scene={"quantity": 0.5, "readings": [0.42, 0.58, 1.0], "faulty": [2]})
    assert world.render(0, "ansi").splitlines()[3] == "sensor_2 reads 1.00, which is faulty, has not answered"
    world.step(torch.tensor([[4, 5, 7]]))
    assert world.render(0, "ansi").splitlines()[1] == "sensor_0 reads 0.42, answered 0.45"
    assert world.render(0, "rgb_array").shape == (73, 368, 3)
    with pytest.raises(ValueError, match="render mode"):
        world.render(0, "human")  # type: ignore[arg-type]
