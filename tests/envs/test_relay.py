"""Relay: rules, the shortest paths in closed form, and what attacks on routing messages do."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import dijkstra
from talk import Talk, full_graph, within_error
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.base.registry import build_config
from envs.relay import scripted
from envs.relay.graph import geometric, grid
from envs.relay.relay import Relay, RelayConfig

UP, RIGHT, DOWN, LEFT, HOLD = range(5)


def make(worlds: int = 1, **arguments: Any) -> Relay:
    return Relay(RelayConfig(**arguments), worlds)


def play(world: Relay, act: Callable[[], Tensor]) -> Tensor:
    """[B], mean return of the nodes in one episode per world."""
    done = torch.zeros(world.num_worlds, dtype=torch.bool)
    total = torch.zeros(world.num_worlds)
    while not done.all():
        step = world.step(act(), auto_reset=False)
        total += step.reward.mean(1) * ~done
        done |= step.done
    return total


def at_random(world: Relay) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(1)
    return lambda: scripted.at_random(world, generator)


def vectors(world: Relay, liars: tuple[int, ...] = (), **channels: Any) -> Tensor:
    """[B], mean return with distance vectors that pass the real message layer, one exchange per step."""
    world.reset(seed=0)
    talk = Talk(world, world.num_agents - 1, **channels)
    routing = scripted.DistanceVectors(world, liars)
    return play(world, lambda: routing.act(talk.heard(full_graph(world.num_agents))))


@pytest.mark.parametrize("arguments", [{}, {"layout": "geometric", "wiring": 3, "members": 12}, {"poor": 0.0}])
def test_shortest_paths_are_dijkstras_and_take_as_long_as_they_should(arguments: dict[str, Any]) -> None:
    world = make(2_000, **arguments)
    world.reset(seed=0)
    found, n = scripted.distances(world), world.num_agents
    for b in range(5):
        weight = np.zeros((n, n))
        for node, slot in (world.edge >= 0).nonzero().tolist():
            weight[node, world.neighbor[node, slot]] = 1 / float(world.chances[b, node, slot])
        oracle = dijkstra(weight, indices=int(world.state["sink"][b]))
        assert found[b].tolist() == pytest.approx(oracle, rel=1e-5)
    choice = scripted.shortest(world)
    long = make(2_000, **arguments, max_steps=300)
    long.reset(seed=0)
    assert torch.allclose(scripted.delays(long, choice), found, rtol=1e-3), "without truncation"
    known = -world.config.cost * scripted.delays(world, choice).mean(1)
    within_error(play(world, lambda: choice) - known, 0.0)


def test_no_fixed_choice_beats_the_shortest_paths() -> None:
    """All 3^4 choices on a square with one poor link, by solving for their delays."""
    world = make(members=4, max_steps=400)
    world.reset(scene={"sink": 3, "poor": [[1, 3]]})
    best = scripted.distances(world)[0]
    assert best.tolist() == pytest.approx([2 / 0.95, min(1 / 0.3, 3 / 0.95), 1 / 0.95, 0], rel=1e-5)
    choices = product(*[[s for s in range(4) if world.edge[node, s] >= 0] for node in range(4)])
    for choice in choices:
        assert bool((scripted.delays(world, torch.tensor([choice]))[0] >= best - 1e-3).all())


def test_floors_of_the_default_network() -> None:
    """The numbers of the module's page."""
    world, reached = make(4_000), {}
    world.reset(seed=0)
    best, fewest = scripted.shortest(world), scripted.shortest(world, hops=True)
    for name, act in (("shortest", lambda: best), ("hops", lambda: fewest), ("random", at_random(world))):
        world.reset(seed=0)
        reached[name] = float(play(world, act).mean())
    reached["distance vectors"] = float(vectors(make(1_000)).mean())
    assert reached == pytest.approx(
        {"shortest": -0.147, "hops": -0.175, "distance vectors": -0.191, "random": -0.53}, abs=7e-3
    )


def test_sinkholes_jamming_and_loss_cost_packets() -> None:
    clean = float(vectors(make(500)).mean())
    lossy = float(vectors(make(500), loss={"probability": 0.7}).mean())
    sinkhole = float(vectors(make(500), liars=(4,)).mean())
    assert clean > lossy + 0.02
    assert lossy > sinkhole + 0.1, "one node that advertises distance 0 is worse than the loss of most messages"


def test_bursts_move_all_packets_of_a_node() -> None:
    world = make(members=4, good=1.0, poor=0.0)
    world.reset(scene={"sink": 3, "poor": []})
    step = world.step(torch.tensor([[RIGHT, HOLD, UP, HOLD]]), auto_reset=False)
    assert world.state["at"].tolist() == [[1, 1, 0, 3]]
    assert world.held.tolist() == [[1, 2, 0, 0]]
    assert step.active.tolist() == [[True, True, True, False]]
    assert step.reward[0].tolist() == pytest.approx([-0.05, -0.05, -0.05, 0])
    step = world.step(torch.tensor([[LEFT, DOWN, UP, UP]]), auto_reset=False)
    assert world.state["at"].tolist() == [[3, 3, 0, 3]], "there is no link to the left"
    assert world.state["sent"].tolist() == [[LEFT, DOWN, -1, -1]]
    assert step.active.tolist() == [[True, True, False, False]]
    world.step(torch.tensor([[DOWN, HOLD, HOLD, HOLD]]), auto_reset=False)
    step = world.step(torch.tensor([[HOLD, HOLD, RIGHT, HOLD]]), auto_reset=False)
    assert step.success.all()
    assert step.terminated.all()


def test_nodes_observe_their_own_links_only() -> None:
    world = make(members=4, observation="indices")
    world.reset(scene={"sink": 2, "poor": [[0, 1]]})
    first = [5, 7, 9, 11]  # codes of the links
    seen = world.observe()[0].tolist()
    assert seen[0] == [0, -1, -1, first[1] + 1, first[2], -1, 14]
    assert seen[3] == [3, -1, first[0], -1, -1, first[3], 14]
    assert seen[2] == [2, 4, first[0], first[1], -1, -1, 13], "the sink has nothing to forward"
    other = make(members=4, observation="indices")
    other.reset(scene={"sink": 1, "poor": [[0, 1]]})
    assert other.observe()[0, 0].tolist() == seen[0], "node 0 cannot know which of its neighbors is the sink"


@given(st.integers(2, 20), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_networks_are_connected_and_their_links_go_both_ways(members: int, wiring: int) -> None:
    for network in (grid(members), geometric(members, wiring)):
        there = network.edge >= 0
        hears = torch.zeros(members, members, dtype=torch.bool)
        node = torch.arange(members).unsqueeze(1).expand_as(network.neighbor)
        hears[node[there], network.neighbor[there]] = True
        assert torch.equal(hears, hears.T)
        assert int(hears.sum()) == 2 * network.edges
        reach = torch.linalg.matrix_power(hears.float() + torch.eye(members), members)
        assert bool((reach > 0).all())


@given(st.lists(st.lists(st.integers(0, 4), min_size=5, max_size=5), min_size=1, max_size=25), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_packets_are_never_lost_or_doubled(actions: list[list[int]], seed: int) -> None:
    world = make(3, members=5)
    world.reset(seed)
    for joint in actions:
        before, delivered = world.state["at"].clone(), world.delivered.clone()
        world.step(torch.tensor([joint]).expand(3, -1), auto_reset=False)
        now = world.state["at"]
        assert torch.equal(now[delivered], before[delivered]), "what is delivered stays"
        assert bool((world.held.sum(1) == (~world.delivered).sum(1)).all())
        near = (world.neighbor[before] == now.unsqueeze(2)).any(2) | (now == before)
        assert bool(near.all())


@pytest.mark.parametrize("change", [{"sink": 4}, {"sink": "a"}, {"poor": [[0, 3]]}, {"poor": 3}, {"poor": [[0]]}])
def test_impossible_scenes_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="scene:"):
        make(members=4).reset(scene={"sink": 0, "poor": [[0, 1]]} | change)


def test_poor_links_cannot_be_better_than_good_ones() -> None:
    with pytest.raises(ConfigError, match=r"bad=0\.9 must be at most good=0\.8"):
        build_config("environment", "relay", {"good": 0.8, "bad": 0.9})


def test_the_graph_of_a_team_is_its_own() -> None:
    config = RelayConfig(layout="geometric")
    assert Relay(config.of_team(3)).network.place.tolist() != Relay(config.of_team(4)).network.place.tolist()


def test_it_can_be_drawn() -> None:
    world = make(members=4, good=1.0)
    world.reset(scene={"sink": 3, "poor": [[0, 1]]})
    world.step(torch.tensor([[RIGHT, HOLD, RIGHT, HOLD]]))
    assert world.render(0, "ansi").splitlines()[0] == "node_3 is the sink; poor links: [[0, 1]]"
    assert world.render(0, "ansi").splitlines()[3] == "node_2 holds 0, sent right"
    assert world.render(0, "rgb_array").shape == (192, 192, 3)
    with pytest.raises(ValueError, match="render mode"):
        world.render(0, "human")  # type: ignore[arg-type]
