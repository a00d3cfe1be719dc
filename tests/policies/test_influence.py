"""Who can know what: the gradient of an agent's logits reaches exactly what messages could have told it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import sampler, team
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import CREW, influence, pairs, paths, rows_of, run
from torch import Tensor

from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.topology import Graph
from agentcomm.step.decide import decide
from agentcomm.step.replay import reevaluate

DECODERS = ["parallel", "autoregressive"]
OWN = torch.eye(6, dtype=torch.bool)


def random_links(worlds: int, degree: int, seed: int) -> Tensor:
    """[B, 6, k] distinct senders per receiver."""
    keys = torch.rand(worlds, 6, 6, generator=torch.Generator().manual_seed(seed))
    keys.diagonal(dim1=1, dim2=2).fill_(-1)
    return keys.topk(degree, -1).indices.sort(-1).values


def moved(policy: CommPolicy, observation: Tensor, source: Tensor, open_: Tensor | None = None) -> Tensor:
    """[B, N, N] bool, whether any gradient at all leads from the logits of i to the observation of j."""
    observation = observation.clone().requires_grad_()
    action = torch.randint(policy.actions.options, source.shape[:2], generator=torch.Generator().manual_seed(1))
    return influence(run(policy, observation, source, open_, action), observation) > 0


def oracle(policy: CommPolicy, graph: Tensor) -> Tensor:
    return paths(graph.float(), policy.rounds, policy.autoregressive)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("blocks", [1, 2])
@given(seed=st.integers(0, 2**20), degree=st.integers(0, 2), shut=st.sampled_from([0.0, 0.4]))
@settings(max_examples=10, deadline=None)
def test_influence_is_paths(blocks: int, decoder: str, seed: int, degree: int, shut: float) -> None:
    """Of at most as many open links as there are rounds; in the autoregressive last one from earlier to later agents.

    Everything outside of them is zero to the last bit; and what is inside is not, for no path is wasted.
    """
    world, policy = team(3, world=CREW, topology={"name": "full"}, blocks=blocks, decoder=decoder)
    source = random_links(3, degree, seed)
    open_ = torch.rand(3, 6, generator=torch.Generator().manual_seed(seed)) >= shut
    expected = oracle(policy, pairs(source) & open_.unsqueeze(-1))
    assert torch.equal(moved(policy, world.reset(seed=seed), source, open_), expected)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("blocks", [1, 2])
def test_a_chain_tells_how_far_messages_travel(blocks: int, decoder: str) -> None:
    """Written out by hand: agent i listens to i - 1 (and the first to the last)."""
    world, policy = team(2, world=CREW, topology={"name": "full"}, blocks=blocks, decoder=decoder)
    source = ((torch.arange(6) - 1) % 6).view(1, 6, 1).expand(2, -1, -1)
    got = moved(policy, world.reset(seed=0), source)[0]
    for i in range(6):
        # In the autoregressive last round the first agent does not hear the last one.
        reach = blocks if decoder == "autoregressive" and i == 0 else blocks + 1
        assert set(got[i].nonzero().flatten().tolist()) == {(i - hop) % 6 for hop in range(reach + 1)}


def test_a_told_action_concerns_those_only_that_are_told() -> None:
    """And not the teller, nor who would hear of it second hand: that is what their own actions are for."""
    world, policy = team(2, world=CREW, topology={"name": "full"}, decoder="autoregressive")
    source = ((torch.arange(6) - 1) % 6).view(1, 6, 1).expand(2, -1, -1)
    seen = world.reset(seed=0)
    action = torch.zeros(2, 6, dtype=torch.int64)
    before = run(policy, seen, source, action=action)
    action[:, 2] = 1
    differs = (run(policy, seen, source, action=action) != before).any(-1).any(0)
    assert differs.tolist() == [False, False, False, True, False, False]


@pytest.mark.parametrize("kind", ["none", "full", "ring", "exponential", "random", "learned", "embedded"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_every_given_or_learned_graph_is_kept_to(kind: str, decoder: str) -> None:
    world, policy = team(4, world=CREW, topology={"name": kind}, decoder=decoder)
    draw = policy.topology.draw(4, torch.Generator().manual_seed(0))
    source = policy.topology.graph(draw if len(draw) else None, 4).source
    got = moved(policy, world.reset(seed=0), source)
    assert torch.equal(got, oracle(policy, pairs(source)))
    if kind == "none":
        assert torch.equal(got, OWN.expand(4, -1, -1))


def decided(policy: CommPolicy, observation: Tensor, seed: int, alive: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Influence when a recorded decision is evaluated again; and the gates that were drawn."""
    source = policy.topology.graph(None, len(observation)).source
    generator = torch.Generator().manual_seed(seed)
    d = decide(policy, observation, Graph(source), None, torch.zeros(len(observation)).long(), generator, alive)
    rows = rows_of(d, observation) | ({} if alive is None else {"alive": alive})
    seen = observation.clone().requires_grad_()
    return influence(replayed_logits(policy, rows, seen), seen) > 0, d.gate


def replayed_logits(policy: Any, rows: dict[str, Tensor], observation: Tensor) -> Tensor:
    """Logits of :func:`agentcomm.step.replay.reevaluate`, of which it returns only one.

    Straight-through gates are frozen: their own gradient, also of closed ones, is not what messages tell.
    """
    kept: list[Tensor] = []
    original = policy.act

    def spy(*arguments: Any) -> Tensor:
        kept.append(original(*arguments))
        return kept[0]

    policy.act = spy
    try:
        reevaluate(policy, {**rows, "observation": observation}, frozen=torch.tensor(True))
    finally:
        del policy.act
    return kept[0]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("side", ["receiver", "sender"])
@pytest.mark.parametrize("kind", ["action", "straight_through"])
def test_a_shut_gate_keeps_direct_neighbors_out(kind: str, side: str, blocks: int, decoder: str) -> None:
    """Of what passes a gate only the weight of those that were open could leak: it belongs to the gate's own agent."""
    gate = {"kind": kind, "side": side, "initial_logit": 0.0}
    world, policy = team(12, world=CREW, gate=gate, topology={"name": "full"}, blocks=blocks, decoder=decoder)
    got, gates = decided(policy, world.reset(seed=0), seed=3)
    assert 0.2 < gates.float().mean() < 0.8
    at = gates.unsqueeze(-1 if side == "receiver" else 1)
    graph = ~OWN & at
    assert torch.equal(got, oracle(policy, graph))
    if side == "receiver":
        assert torch.equal(got[~gates], OWN.expand(12, -1, -1)[~gates]), "who does not listen knows only what it sees"
    else:
        unheard = (~gates).unsqueeze(1) & ~OWN
        assert not got[unheard].any(), "nobody knows of one that does not speak"


@pytest.mark.parametrize("decoder", DECODERS)
def test_members_that_are_gone_tell_nobody_anything(decoder: str) -> None:
    world, policy = team(12, world=CREW, topology={"name": "full"}, decoder=decoder)
    alive = torch.rand(12, 6, generator=torch.Generator().manual_seed(0)) < 0.6
    got, _ = decided(policy, world.reset(seed=0), 0, alive)
    there = alive.unsqueeze(1) & alive.unsqueeze(2)
    assert torch.equal(got, oracle(policy, ~OWN & there) & there)


def test_a_gone_members_observation_reaches_not_even_a_value() -> None:
    world, policy = team(12, "predator_prey", world={"predators": 5, "fewest": 1, "failure": 0.1})
    columns = sampler(world, policy).collect(8).columns
    alive, observation = columns["alive"], columns["observation"].requires_grad_()
    assert 0.2 < alive.float().mean() < 0.9
    now = reevaluate(policy, columns)
    total = now.value.square().sum() + now.log_probability.sum() + now.entropy.sum()
    (gradient,) = torch.autograd.grad(total, observation)
    reached = gradient.abs().sum(-1) > 0
    assert torch.equal(reached, alive)
