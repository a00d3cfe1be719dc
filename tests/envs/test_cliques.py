"""Cliques: groups, rewards, the price of links, and the closed forms of its docstring through the message layer."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from talk import Talk, full_graph, random_graph, within_error
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.base.registry import build_config
from agentcomm.conformance import check_world
from agentcomm.evaluation.metrics import measure
from agentcomm.evaluation.play import play
from agentcomm.runs.assembly import environment_of, make_comms, make_policy, make_world, resize_team
from agentcomm.runs.choices import Choice
from agentcomm.step.loop import TeamLoop
from envs.cliques import Cliques, CliquesConfig, expected, groups, majorities, majority, own_bits, right_graph
from policies.commformer import CommFormer


def make(worlds: int = 1, **arguments: Any) -> Cliques:
    return Cliques(CliquesConfig(**arguments), worlds)


@pytest.mark.parametrize("observation", ["dense", "indices"])
def test_conforms(observation: Any) -> None:
    check_world(lambda worlds: make(worlds, members=7, group=3, observation=observation))


@pytest.mark.parametrize(
    ("members", "sizes"), [(16, {5: 2, 6: 1}), (32, {5: 4, 6: 2}), (64, {5: 8, 6: 4}), (128, {5: 22, 6: 3})]
)
def test_sizes_of_groups(members: int, sizes: dict[int, int]) -> None:
    config = CliquesConfig(members=members)
    found = torch.bincount(groups(config)).tolist()
    assert {size: found.count(size) for size in set(found)} == sizes
    assert not torch.equal(groups(config), groups(CliquesConfig(members=members, wiring=1)))


def test_groups_are_the_teams_own() -> None:
    drawn = environment_of(Choice(name="cliques"), 3)
    assert drawn.arguments == {"wiring": 3}
    assert environment_of(drawn, 4) == drawn


def test_copies_join_the_groups_of_those_that_they_stand_in_for() -> None:
    """Agent i + 64 stands in for agent i, which is also how a trained team is carried to twice its size."""
    large, small = CliquesConfig(members=128, copies=2, wiring=5), CliquesConfig(members=64, wiring=5)
    assert torch.equal(groups(large), groups(small).repeat(2))
    # Twice the links, all of them right, and five percent is what a team carried to twice its size may lose.
    assert expected(small.model_copy(update={"price": 0.01}), "right", 4) == pytest.approx(0.902, abs=5e-4)
    assert expected(large.model_copy(update={"price": 0.01}), "right", 8) == pytest.approx(0.900, abs=5e-4)


def test_a_team_is_carried_to_twice_its_size() -> None:
    """Its agents stand in for themselves and for their copies, and its graph doubles within the groups."""
    small, large = ({"name": "cliques", "members": 64}, {"name": "cliques", "members": 128, "copies": 2})
    trained, world = (make_world(Choice.model_validate(given), 1) for given in (small, large))
    topology = {"name": "embedded", "density": 0.0625}
    chosen = Choice.model_validate({"name": "commformer", "width": 8, "blocks": 0, "topology": topology})
    policy = make_policy(chosen, trained)
    assert isinstance(policy, CommFormer)
    before = policy.topology.graph(None, 1).source[0]
    resize_team(policy, trained, world)
    after = policy.topology.graph(None, 1).source[0]
    assert policy.encoder.identity.tolist() == [*range(64), *range(64)]
    assert policy.topology.degree == 8
    assert torch.equal((after % 64).sort(1).values[:, ::2], before.repeat(2, 1))


def test_majorities() -> None:
    assert [round(majority(n, 0.2), 3) for n in (1, 2, 3, 5, 6)] == [0.8, 0.8, 0.896, 0.942, 0.942]


@pytest.mark.parametrize(
    ("members", "full", "random"), [(16, 0.792, 0.791), (32, 0.632, 0.768), (64, 0.312, 0.762), (128, -0.328, 0.760)]
)
def test_closed_forms_at_a_price(members: int, full: float, random: float) -> None:
    """Those of groups of exactly five differ in the third digit, and only for random graphs of small teams."""
    config = CliquesConfig(members=members, price=0.01)
    assert expected(config, "silent") == pytest.approx(0.8)
    assert expected(config, "right", 4) == pytest.approx(0.902, abs=5e-4)
    assert expected(config, "full") == pytest.approx(full, abs=5e-4)
    assert expected(config, "random", 4) == pytest.approx(random, abs=5e-4)
    assert max(range(5), key=lambda links: expected(config, "right", links)) == 4
    with pytest.raises(ValueError, match="smallest group has 4 others"):
        expected(config, "right", 5)


# At rho .1 and N = 16 / 64: .903, .826 / .800, .818 / .801.
COLLISIONS = {"right": (4, 0.903, 0.903), "full": (None, 0.826, 0.800), "random": (4, 0.818, 0.801)}


@pytest.mark.parametrize("rho", [0.0, 0.1])
@pytest.mark.parametrize("members", [16, 64])
@pytest.mark.parametrize("graph", COLLISIONS)
def test_scripted_teams_through_the_message_layer(
    graph: Literal["right", "full", "random"], members: int, rho: float
) -> None:
    links, *known = COLLISIONS[graph]
    links = links or members - 1
    worlds, steps = (3_200 if graph == "full" else 6_400) // members, 8
    world = make(worlds, members=members, max_steps=steps)
    talk = Talk(world, links, collisions={"rho": rho})
    loss = 1 - (1 - rho) ** (links - 1)
    should = expected(world.config, graph, links, loss)
    if rho:
        assert should == pytest.approx(known[members == 64], abs=6e-4)
    world.reset(seed=0)
    reward = []
    for step in range(steps):
        source = right_graph(world, links) if graph == "right" else full_graph(members)
        source = random_graph(worlds, members, links, step) if graph == "random" else source
        reward.append(world.step(majorities(world, talk.heard(source)), auto_reset=False).reward.mean(1))
    within_error(torch.stack(reward), should)


def test_without_messages_each_names_its_own_bit() -> None:
    world = make(500, members=16)
    world.reset(seed=0)
    within_error(torch.stack([world.step(own_bits(world)).reward.mean(1) for _ in range(8)]), 0.8)


def test_agents_observe_their_bit_and_nothing_of_their_group() -> None:
    dense, indices, other = make(50), make(50, observation="indices"), make(50, wiring=1)
    seen = indices.reset(seed=0)
    assert torch.equal(dense.reset(seed=0).argmax(2, keepdim=True), seen)
    assert torch.equal(seen.squeeze(2), indices.state["seen"])
    flips = seen.squeeze(2) ^ indices.state["bits"][:, indices.group_of]
    assert 0.1 < flips.float().mean() < 0.3
    other.reset(seed=0)
    assert torch.equal(other.state["seen"] ^ other.state["bits"][:, other.group_of], flips)


def test_rewards_and_success() -> None:
    world = make(2, members=4, group=2, error=0.0, max_steps=2)
    world.reset(scene={"bits": [0, 1], "seen": world.group_of.tolist()})
    named = own_bits(world)
    named[1, 2] ^= 1
    assert world.step(named, auto_reset=False).reward.tolist() == [[1, 1, 1, 1], [1, 1, 0, 1]]
    assert world.step(own_bits(world), auto_reset=False).success.tolist() == [True, False]


@pytest.mark.parametrize("topology", [{"name": "random", "density": 0.5}, {"name": "dynamic"}])
@pytest.mark.parametrize("gate", [None, {"initial_logit": 0.0}])
def test_links_cost_their_price_in_training_and_in_evaluation(topology: Any, gate: Any) -> None:
    """One round or two: a link is paid for once per step, by its receiver, if gate and graph leave it open."""
    free, priced = (Choice.model_validate({"name": "cliques", "price": p, "group": 2, "members": 6}) for p in (0, 0.25))
    chosen = Choice.model_validate(
        {"name": "commformer", "width": 8, "blocks": 1, "topology": topology} | ({"gate": gate} if gate else {})
    )
    paid: list[Tensor] = []
    for environment in (free, priced):
        world = make_world(environment, 32)
        policy = make_policy(chosen, world)
        loop = TeamLoop(world, policy, make_comms(world, policy), torch.Generator().manual_seed(1), learning=True)
        loop.reset(2)
        record = loop.step()
        paid.append(record.step.reward)
        assert torch.equal(record.reward, record.step.reward), "what is learned from is what is reported"
    asked = record.decision.num_asked
    assert torch.allclose(paid[0] - paid[1], 0.25 * asked)
    assert asked.unique().numel() > 1 or (gate is None and topology["name"] == "random")
    returns, sent = [], 0.0
    for environment in (free, priced):
        world = make_world(environment, 32)
        policy = make_policy(chosen, world)
        found = measure(play(world, policy, make_comms(world, policy), 3))
        returns.append(found["mean_return"])
        sent = found["messages_per_step"] / policy.rounds / world.num_agents * world.max_steps
    assert returns[0] - returns[1] == pytest.approx(0.25 * sent, abs=1e-4)


def test_a_decoder_alone_has_one_round() -> None:
    world = make_world(Choice.model_validate({"name": "cliques", "group": 2, "members": 4}), 3)
    policy = make_policy(Choice.model_validate({"name": "commformer", "blocks": 0}), world)
    assert isinstance(policy, CommFormer)
    assert policy.rounds == len(policy.blocks) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"members": 9, "copies": 2}, "copies=2 does not divide members=9"),
        ({"members": 8, "copies": 2}, "group=5 is more than members / copies = 4"),
        ({"error": 0.6}, "error"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config("environment", "cliques", arguments)


@pytest.mark.parametrize(
    ("scene", "message"),
    [({"bits": [0]}, "keys 'bits', 'seen'"), ({"bits": [0], "seen": [0, 1, 2]}, r"list of 3 bits 0 \.\. 1")],
)
def test_impossible_scenes_are_refused(scene: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(members=3, group=3).reset(scene=scene)


def test_it_can_be_drawn() -> None:
    world = make(members=3, group=3)
    world.reset(scene={"bits": [1], "seen": [1, 0, 1]})
    text = world.render(0, "ansi").splitlines()
    assert text[:2] == ["group 0 has bit 1", "agent_0 of group 0 sees 1, it has not named a bit"]
    world.step(torch.tensor([[1, 0, 1]]))
    assert "it named 0 last" in world.render(0, "ansi")
    assert world.render(0, "rgb_array").shape == (48, 48, 3)
    with pytest.raises(ValueError, match="render mode"):
        world.render(0, "human")  # type: ignore[arg-type]
