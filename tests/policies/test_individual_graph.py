"""Graphs of each step in which receivers choose their senders by themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.graphs.individual import IndividualConfig, IndividualGraph

WIDTH = 8


def made(agents: int = 5, seed: int = 0, **arguments: Any) -> IndividualGraph:
    torch.manual_seed(seed)
    return IndividualGraph(IndividualConfig(hidden=16, embedding=8, warmup=0.0, **arguments), agents, WIDTH)


@pytest.mark.parametrize("keys", ["agent", "distance"])
@pytest.mark.parametrize("degree", [None, 2])
@given(receiver=st.integers(0, 4), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_nothing_that_others_see_changes_a_choice(keys: str, degree: int | None, receiver: int, seed: int) -> None:
    topology = made(seed=seed, keys=keys, degree=degree)
    generator = torch.Generator().manual_seed(seed)
    before, after = (torch.randn(6, 5, WIDTH, generator=generator) for _ in range(2))
    after[:, receiver] = before[:, receiver]
    draw = topology.draw(6, generator)
    torch.testing.assert_close(topology.logits(after)[:, :, receiver], topology.logits(before)[:, :, receiver])
    for given_ in (draw, None):
        first, second = (topology.graph(given_, 6, hidden) for hidden in (before, after))
        assert torch.equal(first.source[:, receiver], second.source[:, receiver])
        if first.kept is not None and second.kept is not None:
            assert torch.equal(first.kept[:, :, receiver], second.kept[:, :, receiver])


def test_what_a_receiver_sees_changes_its_own_choice() -> None:
    topology = made(12, degree=1, estimator="action")
    hidden = torch.nn.functional.layer_norm(torch.randn(64, 12, WIDTH), (WIDTH,))
    source = topology.graph(None, 64, hidden).source[..., 0]
    assert all(len(set(choices.tolist())) > 2 for choices in source.unbind(1))


def test_the_executed_graph_has_the_senders_with_the_largest_logits() -> None:
    topology, hidden = made(degree=2, estimator="action"), torch.randn(7, 5, WIDTH)
    logits = topology.logits(hidden)[:, 0].masked_fill(torch.eye(5, dtype=torch.bool), float("-inf"))
    assert torch.equal(topology.graph(None, 7, hidden).source, logits.topk(2, -1).indices)


def test_logits_stay_within_the_sharpness_of_the_initial_one() -> None:
    logits = made(40, sharpness=4.0, initial_logit=1.0).logits(100 * torch.randn(50, 40, WIDTH)).detach()
    assert float(logits.amax()) <= 5.0 + 1e-4
    assert float(logits.amin()) >= -3.0 - 1e-4


def test_agents_of_a_larger_team_have_the_keys_of_those_they_stand_in_for() -> None:
    topology, hidden = made(3, degree=1), torch.randn(2, 3, WIDTH)
    before = topology.logits(hidden)
    identity = torch.tensor([0, 1, 2, 1])
    topology.resize(identity)
    after = topology.logits(hidden[:, identity])
    torch.testing.assert_close(after, before[:, :, identity][..., identity])


@given(agents=st.integers(2, 12), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_receivers_that_see_alike_choose_the_same_distance_and_so_different_senders(agents: int, seed: int) -> None:
    topology = made(agents, seed, keys="distance", degree=1, estimator="action")
    source = topology.graph(None, 3, torch.randn(3, 1, WIDTH).expand(-1, agents, -1)).source[..., 0]
    assert torch.equal(source.sort(1).values, torch.arange(agents).expand(3, -1))
    distance = (torch.arange(agents) - source) % agents
    assert torch.equal(distance, distance[:, :1].expand_as(distance))


def test_a_distance_has_the_same_key_in_a_larger_team() -> None:
    topology, hidden = made(3, keys="distance", degree=1), torch.randn(2, 1, WIDTH)
    before = topology.logits(hidden.expand(-1, 3, -1))
    topology.resize(torch.tensor([0, 1, 2, 0, 1, 2]))
    after = topology.logits(hidden.expand(-1, 6, -1))
    for distance in range(6):
        torch.testing.assert_close(after[:, :, 5, 5 - distance], before[:, :, 2, 2 - distance % 3])


@pytest.mark.parametrize("keys", ["agent", "distance"])
def test_everything_is_learned_where_edges_are_open_by_chance(keys: str) -> None:
    topology, hidden = made(keys=keys), torch.randn(4, 5, WIDTH)
    draw = topology.draw(4, torch.Generator().manual_seed(0))
    weight = topology.weight(topology.graph(draw, 4, hidden).source, draw, hidden)
    assert weight is not None
    gradients = torch.autograd.grad(weight.sum(), list(topology.parameters()))
    assert all(bool(gradient.any()) for gradient in gradients)
