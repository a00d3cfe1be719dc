"""Whisper: rules, and who knows the symbol under ``airtime`` in known graphs, through the real message layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import channel, team_shape
from talk import Talk, full_graph, random_graph, within_error
from torch import Tensor

from agentcomm.conformance import check_world
from agentcomm.contracts.channel import ChannelInput
from agentcomm.contracts.topology import TopologyConfig
from envs.whisper import Whisper, WhisperConfig, name_known
from policies.graphs.fixed import OnePeer


def make(worlds: int = 1, **arguments: Any) -> Whisper:
    return Whisper(WhisperConfig(**arguments), worlds)


def steps_of(members: int) -> int:
    return 2 * (members - 1).bit_length()


@pytest.mark.parametrize("observation", ["dense", "indices"])
def test_conforms(observation: Any) -> None:
    check_world(lambda worlds: make(worlds, members=5, max_steps=3, observation=observation))


# ---- who knows it


def matching(world: Whisper, seed: int) -> Tensor:
    """[B, N, 1] a new random cycle over all agents: nobody competes for a sender."""
    shape = (world.num_worlds, world.num_agents)
    order = torch.rand(shape, generator=torch.Generator().manual_seed(seed)).argsort(1)
    return torch.empty_like(order).scatter(1, order, order.roll(1, 1)).unsqueeze(2)


def star(world: Whisper) -> Tensor:
    """[B, N, 1] all listen to the holder, who listens to another one."""
    holder = world.state["holder"].unsqueeze(1)
    agents = torch.arange(world.num_agents).expand(world.num_worlds, -1)
    return torch.where(agents == holder, (holder + 1) % world.num_agents, holder).unsqueeze(2)


def links_of(graph: str, members: int) -> int:
    return {"full": members - 1, "exponential": (members - 1).bit_length()}.get(graph, 1)


def source_of(graph: str, world: Whisper, step: int) -> Tensor:
    n, agents = world.num_agents, torch.arange(world.num_agents).unsqueeze(1)
    if graph == "one-peer":
        topology = OnePeer(TopologyConfig(), n)
        return topology.at(topology.graph(None, world.num_worlds), world.length).source
    if graph == "cycle":
        return (agents - 1) % n
    if graph == "random":
        return random_graph(world.num_worlds, n, 1, seed=0)  # the same in all steps
    if graph == "matching":
        return matching(world, step)
    if graph == "star":
        return star(world)
    return full_graph(n) if graph == "full" else (agents + 2 ** torch.arange((n - 1).bit_length())) % n


def share_that_knows(graph: str, members: int, worlds: int) -> Tensor:
    """[T, B], and checks the reward of a scripted team that names what it knows."""
    world = make(worlds, members=members, max_steps=steps_of(members))
    talk = Talk(world, links_of(graph, members), airtime={})
    world.reset(seed=0)
    known, shares = world.holding.clone(), []
    for step in range(world.max_steps):
        heard = talk.heard(source_of(graph, world, step))
        assert (heard.sum(1) <= 1).all(), "a sender is heard by one listener at most"
        known = known | ((heard.float() @ known.float().unsqueeze(2)).squeeze(2) > 0)
        shares.append(known.float().mean(1))
        reward = world.step(name_known(world, known), auto_reset=False).reward
        assert torch.allclose(reward.mean(1), 0.25 + 0.75 * shares[-1])
    assert torch.equal(world.success(), known.all(1))
    return torch.stack(shares)


KNOWN = {
    "one-peer": (0.734, 0.664),
    "cycle": (0.344, 0.117),
    "random": (0.204, 0.066),
    "matching": (0.676, 0.613),
    "full": (0.635, 0.581),
    "star": (0.303, 0.111),
    "exponential": (0.605, 0.524),
}


@pytest.mark.parametrize("graph", KNOWN)
@pytest.mark.parametrize("members", [16, 64])
def test_share_that_knows(graph: str, members: int) -> None:
    """The first two exactly; the others as simulated with 1,000 worlds and more, within four standard errors."""
    worlds = {16: 400, 64: 40 if graph == "full" else 100}[members]
    share, expected = share_that_knows(graph, members, worlds), KNOWN[graph][members == 64]
    after = torch.arange(1, len(share) + 1)
    if graph in ("one-peer", "cycle"):
        informed = (2**after if graph == "one-peer" else 1 + after).clamp(max=members) / members
        assert torch.equal(share, informed.unsqueeze(1).expand_as(share).float()), "for every holder"
        assert float(informed.mean()) == pytest.approx(expected, abs=6e-4)
    else:
        assert (share <= (2.0**after / members).clamp(max=1.0).unsqueeze(1) + 1e-6).all(), "doubles at most"
        error = 4 * float(share.mean(0).std()) / worlds**0.5
        assert float(share.mean()) == pytest.approx(expected, abs=error + 0.003)


def test_without_messages_the_holder_alone_knows_it() -> None:
    world = make(50)
    world.reset(seed=0)
    total = sum(world.step(name_known(world, world.holding)).reward.mean(1) for _ in range(8))
    assert torch.allclose(torch.as_tensor(total) / 8, torch.tensor(0.25 + 0.75 / 16))


def test_a_sender_chooses_each_listener_equally_often() -> None:
    shape = (6_000, 4, 2)
    c = channel("airtime", team_shape(6_000, 4, 2, rounds=1), 2)
    # Agent 0 has three listeners, agent 1 two, a newcomer (number 4) two; agent 2 would have one that is not there.
    sender = torch.tensor([[1, 4], [0, 4], [0, 1], [0, 2]]).expand(shape)
    present = torch.tensor([[1, 1], [1, 1], [1, 1], [1, 0]]).bool().expand(shape)
    zero = torch.zeros(shape, dtype=torch.int64)
    entering = ChannelInput(present, sender, zero, zero, zero[:, 0, 0], 0.1, 0, torch.Generator().manual_seed(0))
    lost = c.carry(entering, {}).lost
    assert lost is not None
    assert not (lost & ~present).any()
    arrived = (present & ~lost).float()
    for number, listeners in ((0, 3), (1, 2), (4, 2)):
        own = arrived * (sender == number)
        assert (own.sum((1, 2)) == 1).all()
        for i, m in (sender[0] == number).nonzero().tolist():
            within_error(own[:, i, m], 1 / listeners)


# ---- rules


def test_rewards() -> None:
    world = make(members=3, symbols=4, max_steps=2, wrong=0.75)
    world.reset(scene={"symbol": [2], "holder": [1]})
    assert world.step(torch.tensor([[2, 0, 4]]), auto_reset=False).reward.tolist() == [[1.0, -0.75, 0.25]]
    step = world.step(torch.tensor([[2, 2, 2]]), auto_reset=False)
    assert step.success.all()
    assert step.terminated.all(), "agents observe the step, so no value is estimated beyond the last one"


def test_agents_observe_step_and_own_last_name_and_the_holder_its_symbol() -> None:
    world, dense = (make(members=3, symbols=4, max_steps=2, observation=o) for o in ("indices", "dense"))
    for made in (world, dense):
        made.reset(scene={"symbol": [2], "holder": [1]})
    assert world.observe()[0].tolist() == [[-1, 4], [2, 4], [-1, 4]]
    assert dense.observe()[0, 1].tolist() == [0, 0, 1, 0, 1, 0, 0]
    step = world.step(torch.tensor([[3, 0, 4]]))
    assert step.observation[0].tolist() == [[3, 5], [2, 5], [-1, 5]]
    assert world.step(torch.tensor([[4, 0, 4]])).final_observation[0, 0].tolist() == [-1, 6]


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        ({"symbol": [0]}, "keys 'symbol', 'holder'"),
        ({"symbol": [4], "holder": [0]}, r"list of 1 symbols 0 \.\. 3"),
        ({"symbol": [0], "holder": [16]}, r"list of 1 agents 0 \.\. 15"),
    ],
)
def test_impossible_scenes_are_refused(scene: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make().reset(scene=scene)


def test_it_can_be_drawn() -> None:
    world = make(members=2)
    world.reset(scene={"symbol": [2], "holder": [1]})
    world.step(torch.tensor([[2, 4]]))
    assert world.render(0, "ansi").splitlines() == [
        "agent_1 holds 2",
        "agent_0 named 2 last",
        "agent_1 named no symbol",
    ]
    assert world.render(0, "rgb_array").shape == (32, 32, 3)
    with pytest.raises(ValueError, match="render mode"):
        world.render(0, "human")  # type: ignore[arg-type]
