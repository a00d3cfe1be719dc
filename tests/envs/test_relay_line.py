"""Relay line: rules, and its closed forms through the real message layer and the channel ``relay``."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from talk import Talk, random_graph
from torch import Tensor

from agentcomm.conformance import check_world
from envs.relay_line import RelayLine, RelayLineConfig, expected, name_known

NEIGHBORS = {"layout": "line", "limit": 1, "seconds": 0.0}


def make(worlds: int = 1, **arguments: Any) -> RelayLine:
    return RelayLine(RelayLineConfig(**arguments), worlds)


@pytest.mark.parametrize("observation", ["dense", "indices"])
def test_conforms(observation: Any) -> None:
    check_world(lambda worlds: make(worlds, members=4, symbols=3, max_steps=3, observation=observation))


def predecessors(members: int) -> Tensor:
    """[N, 1], each listens to the one before it; the head to its neighbor."""
    return torch.tensor([1, *range(members - 1)]).unsqueeze(1)


def random_neighbors(worlds: int, members: int) -> Tensor:
    """[B, N, 1], one of the neighbors of each agent."""
    ahead = torch.rand(worlds, members, generator=torch.Generator().manual_seed(0)) < 0.5
    ahead[:, 0], ahead[:, -1] = True, False
    return (torch.arange(members) + torch.where(ahead, 1, -1)).unsqueeze(2)


def mean_reward(world: RelayLine, source: Tensor, memory: bool, channels: dict[str, Any], rounds: int = 2) -> Tensor:
    """[B], per agent and step, of a scripted team that passes on what it knows in each round."""
    world.reset(seed=0)
    talk = Talk(world, 1, **channels)
    head = (torch.arange(world.num_agents) == 0).expand(world.num_worlds, -1)
    known, total = head, torch.zeros(world.num_worlds)
    for _ in range(world.max_steps):
        known = known if memory else head
        for _ in range(rounds):
            known = known | ((talk.heard(source).float() @ known.float().unsqueeze(2)).squeeze(2) > 0)
        total += world.step(name_known(world, known), auto_reset=False).reward.mean(1)
    return total / world.max_steps


def within(found: Tensor, known: float) -> None:
    error = 4 * float(found.std()) / len(found) ** 0.5 + 5e-3
    assert float(found.mean()) == pytest.approx(known, abs=error)


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize(
    ("members", "right", "random", "silent"),
    [(8, (0.53, 0.90), (0.41, 0.43), 0.34), (16, (0.39, 0.86), (0.33, 0.34), 0.30)],
)
def test_values_of_graphs_between_neighbors(
    members: int, right: tuple[float, float], random: tuple[float, float], silent: float, memory: bool
) -> None:
    """The right graph earns .53 and .39 without memory, .90 and .86 with it: only a team that remembers needs it."""
    world = make(1_000, members=members, max_steps=members)
    known: dict[Literal["silent", "right", "random"], tuple[Tensor, float]] = {
        "right": (predecessors(members), right[memory]),
        "random": (random_neighbors(1_000, members), random[memory]),
    }
    for graph, (source, value) in known.items():
        closed = expected(world.config, graph, memory=memory)
        assert closed == pytest.approx(value, abs=6e-3)
        within(mean_reward(world, source, memory, {"relay": NEIGHBORS}), closed)
    assert expected(world.config, "silent") == pytest.approx(silent, abs=6e-3)


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize(("members", "known"), [(8, (0.52, 0.61)), (16, (0.39, 0.49))])
def test_values_of_random_graphs_that_are_not_held_to_the_line(
    members: int, known: tuple[float, float], memory: bool
) -> None:
    """One link each to any other agent and no channel: .52 / .39 without memory, .61 / .49 with it."""
    world = make(4_000, members=members, max_steps=members)
    within(mean_reward(world, random_graph(4_000, members, 1), memory, {}), known[memory])


def test_messages_from_afar_do_not_arrive() -> None:
    world = make(3, members=4)
    heard = Talk(world, 1, relay=NEIGHBORS).heard(torch.tensor([[3], [0], [0], [1]]))
    assert heard.sum(0).tolist() == [[0, 0, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_the_head_alone_observes_the_symbol_and_all_are_paid_for_it() -> None:
    world, dense = make(members=3, observation="indices"), make(members=3)
    for made in (world, dense):
        made.reset(scene={"symbol": [2]})
    assert world.observe()[0].tolist() == [[2], [-1], [-1]]
    assert dense.observe()[0].tolist() == [[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    step = world.step(torch.tensor([[2, 0, 2]]), auto_reset=False)
    assert step.reward.tolist() == [[1, 0, 1]]
    assert not step.success.any()
    assert world.step(torch.tensor([[2, 2, 2]]), auto_reset=False).success.all()


@pytest.mark.parametrize("scene", [{}, {"symbol": [4]}, {"symbol": 1}])
def test_impossible_scenes_are_refused(scene: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="scene:"):
        make().reset(scene=scene)


def test_it_can_be_drawn() -> None:
    world = make(members=2)
    world.reset(scene={"symbol": [2]})
    assert world.render(0, "ansi").splitlines()[:2] == ["agent_0 sees 2", "agent_0 has not named a symbol"]
    world.step(torch.tensor([[2, 1]]))
    assert world.render(0, "ansi").splitlines()[2] == "agent_1 named 1 last"
    assert world.render(0, "rgb_array").shape == (32, 32, 3)
    with pytest.raises(ValueError, match="render mode"):
        world.render(0, "human")  # type: ignore[arg-type]
