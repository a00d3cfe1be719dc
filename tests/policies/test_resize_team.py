"""A team of another size: trained policies act in it where their graph can."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import comms, team, team_shape_of
from oracles import CREW

from agentcomm.base.errors import ConfigError
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.world import World
from agentcomm.runs.assembly import resize_team
from agentcomm.step.decide import decide

TOPOLOGIES = ["none", "full", "ring", "exponential", "random", "embedded", "dynamic", "individual"]


def crew(perception: int, capture: int, worlds: int = 5, **more: Any) -> World:
    return team(worlds, world={"perception_agents": perception, "capture_agents": capture, **more})[0]


def act(policy: CommPolicy, world: World) -> torch.Tensor:
    """Logits of one greedy decision through a network."""
    seen = world.reset(seed=3)
    graph = None if policy.topology.dynamic else policy.topology.graph(None, world.num_worlds)
    logits = decide(policy, seen, graph, comms(team_shape_of(world, policy)), world.length, None).logits
    assert logits.shape == (world.num_worlds, world.num_agents, world.num_actions)
    assert logits.isfinite().all()
    return logits


@pytest.mark.parametrize("decoder", ["parallel", "autoregressive"])
@pytest.mark.parametrize("observation", ["dense", "indices"])
@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_teams_of_other_sizes_act(kind: str, observation: str, decoder: str) -> None:
    arguments = {"topology": {"name": kind}, "decoder": decoder, "gate": {"initial_logit": 0.0, "cost": 0.1}}
    trained, policy = team(5, world=CREW | {"observation": observation}, **arguments)
    policy.anneal(1.0)  # until the price has risen
    for sizes in ((1, 1), (4, 4), (9, 2), (4, 2)):
        world = crew(*sizes, observation=observation)
        resize_team(policy, trained, world)
        if world.roles != trained.roles:
            assert policy.num_agents == sum(sizes)
            assert policy.listening_cost() == pytest.approx(0.1 * policy.topology.degree / sum(sizes))
            act(policy, world)


@pytest.mark.parametrize("kind", [*TOPOLOGIES, "learned"])
@torch.no_grad()
def test_everybody_standing_in_for_itself_changes_nothing(kind: str) -> None:
    world, policy = team(5, world=CREW, topology={"name": kind})
    before = act(policy, world)
    policy.resize_team(range(6))
    assert torch.equal(act(policy, world), before)


@torch.no_grad()
def test_agents_stand_in_for_those_of_their_role_in_turn() -> None:
    trained, policy = team(5, world=CREW, topology={"name": "none"})
    world = crew(6, 5)
    resize_team(policy, trained, world)
    identity: Any = policy.get_submodule("encoder").get_buffer("identity")
    assert identity.tolist() == [0, 1, 2, 3, 0, 1, 4, 5, 4, 5, 4]
    # Without messages, an agent acts as the one that it stands in for, given what that one sees.
    seen = trained.reset(seed=0)
    served = policy.act(policy.encode(seen[:, identity]))
    policy.resize_team(range(6))
    torch.testing.assert_close(served, policy.act(policy.encode(seen))[:, identity], rtol=1e-5, atol=1e-6)


def test_misfits_are_refused() -> None:
    trained, policy = team(5, world=CREW, topology={"name": "embedded"})
    for other in ({"size": 5}, {"vision": 2}, {"observation": "indices"}):
        with pytest.raises(ConfigError, match="trained for observations"):
            resize_team(policy, trained, crew(4, 2, **other))
    prey, _ = team(5, "predator_prey", world={"predators": 6})
    with pytest.raises(ConfigError, match=r"trained for actions .*'capture'"):
        resize_team(policy, trained, prey)
    hunters, hunter = team(5, "predator_prey", world={"predators": 3}, topology={"name": "learned"})
    with pytest.raises(ConfigError, match=r"tied to its 3 agents; train with topology 'embedded'"):
        resize_team(hunter, hunters, prey)
    resize_team(hunter, hunters, team(2, "predator_prey", world={"predators": 3})[0])
    assert policy.num_agents == 6, "a refusal leaves the policy as it was"
    act(policy, trained)


def test_unknown_roles_are_refused() -> None:
    class Blind(type(crew(4, 2))):  # type: ignore[misc]
        roles = (0, 0, 0, 0, 1, 7)

    trained, policy = team(5, world=CREW, topology={"name": "full"})
    with pytest.raises(ConfigError, match="the trained team has no agent of role 7"):
        resize_team(policy, trained, Blind(trained.config, 2))
