"""Graphs of large teams: one random number per kept edge, and some receivers at a time."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

from policies.graphs import fixed, learned
from policies.graphs.learned import EXACT, EmbeddedConfig, EmbeddedGraph, LearnedConfig, LearnedGraph
from policies.graphs.noise import new_draws
from policies.graphs.sampling import cumulative, draw_senders

AGENTS = 200


def graph(embedded: bool = False, degree: int = 3, agents: int = AGENTS) -> LearnedGraph:
    torch.manual_seed(0)
    if embedded:
        return EmbeddedGraph(EmbeddedConfig(degree=degree, embedding=8), agents)
    made = LearnedGraph(LearnedConfig(degree=degree), agents)
    with torch.no_grad():
        made.edges.normal_()
    return made


def draws(count: int, seed: int = 0) -> Tensor:
    return new_draws(count, torch.Generator().manual_seed(seed))


def test_senders_are_drawn_one_after_the_other() -> None:
    """Plackett-Luce: the second among those that are left, in proportion to the softmax."""
    torch.manual_seed(1)
    logits = torch.randn(2, 5)
    logits[0, 0] = logits[1, 1] = -torch.inf
    senders = draw_senders(cumulative(logits), draws(40000), torch.arange(2), 2)
    for receiver, p in enumerate(logits.softmax(-1)):
        expected = torch.zeros(5, 5)
        for a, b in permutations(range(5), 2):
            expected[a, b] = p[a] * p[b] / (1 - p[a])
        place = senders[:, receiver, 0], senders[:, receiver, 1]
        found = torch.zeros(5, 5).index_put_(place, torch.tensor(1 / 40000), True)
        torch.testing.assert_close(found, expected, rtol=0, atol=0.01)


def test_all_senders_can_be_drawn_however_unlikely_they_are() -> None:
    logits = torch.tensor([[-torch.inf, 50.0, -200.0, 0.0], [200.0, -torch.inf, -200.0, -200.0]])
    senders = draw_senders(cumulative(logits), draws(50), torch.arange(2), 3)
    assert torch.equal(senders.sort(-1).values, torch.tensor([[1, 2, 3], [0, 2, 3]]).expand(50, -1, -1))
    assert (senders[:, 1, 0] == 0).all(), "who is certain comes first"


@pytest.mark.parametrize("embedded", [False, True])
def test_sampled_graphs_keep_k_others_and_those_of_exact_draws_are_executed(embedded: bool) -> None:
    topology, draw = graph(embedded), draws(6)
    draw[::2] = EXACT
    source, executed = topology.graph(draw, 6).source, topology.graph(None, 6).source
    assert source.shape == (6, AGENTS, 3)
    assert (source.diff(dim=-1) > 0).all()
    assert (source != torch.arange(AGENTS).view(1, -1, 1)).all()
    assert torch.equal(source[::2], executed[::2])
    assert topology.agreement(source[1::2]) < 0.1
    again = topology.graph(draw.flip(0), 6).source
    assert torch.equal(again, source.flip(0)), "a graph depends on its draw alone"


@pytest.mark.parametrize("embedded", [False, True])
def test_some_receivers_at_a_time_are_all_receivers(embedded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    topology, draw = graph(embedded), draws(4)
    found = []
    for together in (learned.TOGETHER, 7 * AGENTS):
        monkeypatch.setattr(learned, "TOGETHER", together)
        source = topology.graph(draw, 4).source
        probability = topology.log_probability(source, draw)
        weighted = probability * torch.arange(1.0, 5).view(-1, 1)
        slopes = torch.autograd.grad(weighted.sum(), list(topology.parameters()))
        found.append((source, topology.graph(None, 1).source, topology.row_entropy(), probability, *slopes))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_probability_is_that_of_drawing_the_senders_in_their_order() -> None:
    topology, draw = graph(), draws(3)
    source = topology.graph(draw, 3).source
    logits = topology.logits().detach().double().fill_diagonal_(-torch.inf)
    got = topology.log_probability(source, draw)
    order = draw_senders(cumulative(logits.float()), draw, torch.arange(AGENTS), 3)
    assert torch.equal(order.sort(-1).values, source)
    for i in range(0, AGENTS, 23):
        left, expected = logits[i].clone(), torch.zeros(3, dtype=torch.float64)
        for world in range(3):
            left = logits[i].clone()
            for j in order[world, i].tolist():
                expected[world] += left[j] - left.logsumexp(0)
                left[j] = -torch.inf
        torch.testing.assert_close(got[:, i], expected.float(), rtol=1e-4, atol=1e-5)


def test_expected_score_is_zero() -> None:
    """E[grad log p] = 0: what REINFORCE rests on."""
    topology = graph(degree=2, agents=150)
    draw = draws(4000)
    logs = topology.log_probability(topology.graph(draw, 4000).source, draw)
    (score,) = torch.autograd.grad(logs[:, :5].mean(0).sum(), topology.edges)
    assert score.abs().max() < 0.04


def test_a_random_graph_drawn_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    config = fixed.RandomConfig(degree=3, seed=5)
    whole = fixed.Random(config, 40).table
    monkeypatch.setattr(fixed, "TOGETHER", 100)
    assert torch.equal(fixed.Random(config, 40).table, whole)
