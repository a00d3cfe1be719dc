"""Graphs: given ones, learned ones and those made in every step."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch
from builders import team
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import CREW
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.contracts.topology import Topology, TopologyChoice, TopologyConfig
from policies.graphs.dynamic import DynamicConfig, DynamicGraph
from policies.graphs.fixed import Exponential, OnePeer, Random, RandomConfig, Ring
from policies.graphs.learned import EXACT, EmbeddedConfig, EmbeddedGraph, LearnedConfig, LearnedGraph
from policies.graphs.noise import gumbel, logistic
from policies.graphs.part import degree


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def is_graph(source: Tensor, worlds: int, agents: int, count: int) -> None:
    assert source.shape == (worlds, agents, count)
    assert source.dtype == torch.int64
    assert (source != torch.arange(agents).view(1, -1, 1)).all(), "never the receiver itself"
    assert ((source >= 0) & (source < agents)).all()
    assert (source.diff(dim=-1) > 0).all(), "each once, in ascending order"


@given(agents=st.integers(2, 9), density=st.floats(0.05, 1), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_graphs_keep_k_others_per_receiver(agents: int, density: float, seed: int) -> None:
    torch.manual_seed(seed)
    k = degree(density, agents)
    assert 1 <= k <= agents - 1
    choices = [
        ({"name": "learned", "density": density}, k),
        ({"name": "embedded", "density": density}, k),
        ({"name": "random", "density": density, "seed": seed}, k),
        ({"name": "full"}, agents - 1),
        ({"name": "dynamic"}, agents - 1),
        ({"name": "individual"}, agents - 1),
        ({"name": "none"}, 0),
    ]
    for choice, count in choices:
        topology = TopologyChoice.model_validate(choice).build(agents, 8)
        hidden = torch.randn(5, agents, 8)
        draw = topology.draw(5, generator(seed))
        assert topology.degree == count
        for given_ in (None, draw) if len(draw) else (None,):
            is_graph(topology.graph(given_, 5, hidden).source, 5, agents, count)
    first, again = (Random(RandomConfig(density=density, seed=seed), agents) for _ in range(2))
    assert torch.equal(first.graph(None, 1).source, again.graph(None, 1).source)


# ---- given graphs


def hops(topology: Topology, agents: int) -> set[int]:
    """How much further on in the team's order senders are; the same for every receiver."""
    source = topology.graph(None, 1).source[0]
    offsets = (source - torch.arange(agents).unsqueeze(1)) % agents
    assert (offsets.sort(-1).values == offsets[0].sort().values).all()
    return set(offsets[0].tolist())


@given(agents=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_ring_and_exponential_graph(agents: int) -> None:
    ring, exponential = (kind(TopologyConfig(), agents) for kind in (Ring, Exponential))
    is_graph(ring.graph(None, 3).source, 3, agents, min(2, agents - 1))
    is_graph(exponential.graph(None, 3).source, 3, agents, (agents - 1).bit_length())  # log2 N, rounded up
    assert hops(ring, agents) == {1, agents - 1} - {0, agents} if agents > 1 else hops(ring, agents) == set()
    assert hops(exponential, agents) == {2**p for p in range(6) if 2**p < agents}
    for topology, diameter in ((ring, agents // 2), (exponential, (agents - 1).bit_length())):
        links = torch.eye(agents).scatter(1, topology.graph(None, 1).source[0], 1)
        reached = torch.linalg.matrix_power(links.clamp(max=1).double(), diameter)
        assert (reached > 0).all(), "everybody hears of everybody within so many rounds"


@pytest.mark.parametrize("agents", [1, 2, 5, 8])
def test_one_peer(agents: int) -> None:
    """In step t agent i listens to i - 2^(t mod log2 N), in each world by its own step; after log2 N steps all met."""
    topology, period = OnePeer(TopologyConfig(), agents), (agents - 1).bit_length()
    step, reached = torch.tensor([0, 1, 7]), torch.eye(agents)
    source = topology.at(topology.graph(None, 3), step).source
    is_graph(source, 3, agents, min(1, agents - 1))
    for world, t in enumerate(step.tolist()):
        for i in range(agents if agents > 1 else 0):
            assert int(source[world, i, 0]) == (i - 2 ** (t % period)) % agents
    for t in range(period):
        links = topology.at(topology.graph(None, 1), torch.tensor([t])).source[0]
        reached = (torch.eye(agents).scatter(1, links, 1) @ reached).clamp(max=1)
    assert (reached == 1).all()
    topology.resize(torch.arange(4))
    assert topology.at(topology.graph(None, 1), torch.tensor([1])).source[0, :, 0].tolist() == [2, 3, 0, 1]


def test_small_rings() -> None:
    """Two agents on a ring have one neighbor each, not the same one twice."""
    assert [Ring(TopologyConfig(), n).table.tolist() for n in (1, 2, 3)] == [
        [[]],
        [[1], [0]],
        [[1, 2], [0, 2], [0, 1]],
    ]
    assert [Exponential(TopologyConfig(), n).table.tolist() for n in (1, 2, 3)] == [
        [[]],
        [[1], [0]],
        [[1, 2], [0, 2], [0, 1]],
    ]


@pytest.mark.parametrize(
    "choice", [*({"name": n} for n in ("none", "full", "ring", "exponential")), {"name": "random", "seed": 3}]
)
@pytest.mark.parametrize("agents", [1, 2, 5, 8])
def test_a_given_graph_of_another_size_is_that_of_a_team_of_that_size(choice: dict[str, Any], agents: int) -> None:
    topology = TopologyChoice.model_validate(choice).build(6, 8)
    topology.resize(torch.zeros(agents, dtype=torch.int64))
    fresh = TopologyChoice.model_validate(choice).build(agents, 8)
    assert topology.degree == fresh.degree
    assert torch.equal(topology.graph(None, 2).source, fresh.graph(None, 2).source)


def test_a_random_graph_is_its_teams_own() -> None:
    tables = [team(2, seed=seed, world=CREW, topology={"name": "random"})[1].topology.table for seed in (0, 0, 1, 2, 3)]
    assert torch.equal(tables[0], tables[1])
    assert any(not torch.equal(tables[0], table) for table in tables[2:]), "another team has another graph"
    fixed = [team(2, seed=n, world=CREW, topology={"name": "random", "seed": 5})[1].topology.table for n in (0, 1)]
    assert torch.equal(*fixed), "unless the config names one"


# ---- learned graphs


def learned(agents: int = 6, embedded: bool = False, **arguments: Any) -> LearnedGraph:
    torch.manual_seed(0)
    if embedded:
        return EmbeddedGraph(EmbeddedConfig(**arguments), agents)
    made = LearnedGraph(LearnedConfig(**arguments), agents)
    with torch.no_grad():
        made.edges.normal_()
    return made


def test_a_favoured_diagonal_still_does_not_compete() -> None:
    topology = learned()
    with torch.no_grad():
        topology.edges.fill_diagonal_(100.0)
    draw = topology.draw(50, generator())
    source = topology.graph(draw, 50).source
    assert (source != torch.arange(6).view(1, -1, 1)).all()
    weight = topology.weight(source, draw)
    assert weight is not None
    gradient = torch.autograd.grad(weight.sum(), topology.edges)[0]
    assert gradient.isfinite().all()
    assert not gradient.diagonal().any()


@pytest.mark.parametrize("exact", [False, True])
def test_weights_are_the_softmax(exact: bool) -> None:
    topology = learned(temperature=0.7)
    draw = topology.draw(4, generator(1))
    noise = gumbel(draw, 6, 6)
    if exact:
        draw[:], noise[:] = EXACT, 0
    source = topology.graph(draw, 4).source
    weight = topology.weight(source, draw)
    assert weight is not None
    outer = torch.randn(4, 6, 2)
    (got,) = torch.autograd.grad((weight * outer).sum(), topology.edges)
    # By the softmax's Jacobian, written out: d p_j / d l_m = p_j (1[j = m] - p_m) / tau over the N - 1 others.
    expected = torch.zeros(6, 6)
    for b in range(4):
        for i in range(6):
            others = [j for j in range(6) if j != i]
            p = ((topology.edges[i, others] + noise[b, i, others]) / 0.7).softmax(0).detach()
            for slot in range(2):
                j = others.index(int(source[b, i, slot]))
                for m in range(5):
                    jacobian = p[j] * (float(j == m) - p[m]) / 0.7
                    expected[i, others[m]] += outer[b, i, slot] * jacobian
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_sampling_is_reproducible_and_follows_the_logits() -> None:
    topology = learned(4, density=0.3, graphs=4000)
    draws = [topology.draw(4000, generator(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    chosen = topology.graph(draws[0], 4000).source[..., 0]
    for i in range(4):
        frequency = torch.bincount(chosen[:, i], minlength=4) / 4000
        p = topology.edges[i].detach().clone()
        p[i] = -torch.inf
        torch.testing.assert_close(frequency, p.softmax(0), rtol=0, atol=0.035)


def test_two_senders_are_drawn_one_after_the_other() -> None:
    """Plackett-Luce: the second among those that are left, in proportion to the softmax."""
    topology = learned(4, density=0.5, graphs=4000)
    source = topology.graph(topology.draw(4000, generator()), 4000).source
    for i in range(4):
        p = topology.edges[i].detach().clone()
        p[i] = -torch.inf
        p = p.softmax(0)
        expected = torch.zeros(4, 4)
        for a, b in permutations([j for j in range(4) if j != i], 2):
            expected[min(a, b), max(a, b)] += p[a] * p[b] / (1 - p[a])
        found = torch.zeros(4, 4).index_put_((source[:, i, 0], source[:, i, 1]), torch.tensor(1 / 4000), True)
        torch.testing.assert_close(found, expected, rtol=0, atol=0.035)


@pytest.mark.parametrize("embedded", [False, True])
def test_worlds_share_graphs_in_turn_and_exact_is_the_executed_one(embedded: bool) -> None:
    topology = learned(embedded=embedded, graphs=4, density=0.5)
    draw = topology.draw(10, generator())
    assert draw.unique().numel() == 4
    assert torch.equal(draw, draw[torch.arange(10) % 4])
    assert topology.draw(3, generator()).unique().numel() == 3, "never more graphs than worlds"
    source = topology.graph(draw, 10).source
    assert torch.equal(source, source[torch.arange(10) % 4])
    assert len({str(graph.tolist()) for graph in source}) == 4
    executed = topology.graph(None, 10).source
    draw[::2] = EXACT
    mixed = topology.graph(draw, 10).source
    assert torch.equal(mixed[::2], executed[::2])
    assert torch.equal(mixed[1::2], source[1::2])
    assert topology.agreement(executed) == 1
    same = (source == executed).all(-1).float().mean()
    assert topology.agreement(source) == same < 1


@pytest.mark.parametrize("embedded", [False, True])
def test_the_probability_of_a_graph_is_that_of_drawing_its_senders_in_their_order(embedded: bool) -> None:
    topology = learned(5, embedded=embedded, density=0.6)
    draw = topology.draw(7, generator())
    source = topology.graph(draw, 7).source
    got = topology.log_probability(source, draw)
    noise = gumbel(draw, 5, 5)
    logits = topology.logits().detach()
    for b in range(7):
        for i in range(5):
            left = [j for j in range(5) if j != i]
            expected = torch.tensor(0.0)
            for j in sorted(source[b, i].tolist(), key=lambda j: -float(logits[i, j] + noise[b, i, j])):
                expected = expected + logits[i, j] - logits[i, left].logsumexp(0)
                left.remove(j)
            torch.testing.assert_close(got[b, i], expected, rtol=1e-4, atol=1e-5)


def test_expected_score_is_zero() -> None:
    """E[grad log p] = 0: what REINFORCE rests on."""
    topology = learned(4, density=0.5, graphs=20000)
    draw = topology.draw(20000, generator())
    logs = topology.log_probability(topology.graph(draw, 20000).source, draw)
    (score,) = torch.autograd.grad(logs.mean(0).sum(), topology.edges, retain_graph=True)
    assert score.abs().max() < 0.03
    (biased,) = torch.autograd.grad((logs * (logs > logs.mean())).mean(0).sum(), topology.edges)
    assert biased.abs().max() > 0.05, "chosen by what they got, graphs have another"


def test_sampling_leaves_the_global_generator_alone() -> None:
    topology = learned()
    before = torch.get_rng_state()
    topology.graph(topology.draw(3, generator()), 3)
    assert torch.equal(before, torch.get_rng_state())


def test_the_last_phase_samples_the_executed_graph() -> None:
    topology = learned(exact_after=0.8)
    executed = topology.graph(None, 7).source
    assert not torch.equal(topology.graph(topology.draw(7, generator()), 7).source, executed)
    for progress, exact in ((0.0, False), (0.79, False), (0.8, True), (1.0, True), (2.0, True)):
        topology.anneal(progress)
        draw = topology.draw(7, generator())
        assert bool(topology.exact) == exact
        assert torch.equal(topology.graph(draw, 7).source, executed) == exact
        assert bool((draw == EXACT).all()) == bool((draw == EXACT).any()) == exact


def test_temperature_falls_geometrically_to_its_final_value() -> None:
    topology = learned(temperature=2.0, final_temperature=0.5)
    for progress, value in ((0.0, 2.0), (0.5, 1.0), (1.0, 0.5), (3.0, 0.5)):
        topology.anneal(progress)
        assert float(topology.temperature) == pytest.approx(value)


def test_entropy_of_rows() -> None:
    topology = learned(5, initial_logit=0.0)
    with torch.no_grad():
        topology.edges.zero_()
        topology.edges[0, 3] = 100.0
    expected = torch.tensor([0.0, *[4.0] * 4]).clamp_min(1).log()
    torch.testing.assert_close(topology.row_entropy(), expected, rtol=1e-5, atol=1e-6)


def test_one_logit_per_edge_does_not_carry_over() -> None:
    topology = learned()
    topology.resize(torch.arange(6))
    for identity in (torch.arange(7) % 6, torch.arange(5), torch.arange(6).flip(0)):
        with pytest.raises(ConfigError, match="tied to its 6 agents; train with topology 'embedded'"):
            topology.resize(identity)


# ---- embedded graphs


@torch.no_grad()
def test_embedded_logits_are_angles_between_queries_and_keys() -> None:
    topology = learned(5, embedded=True, embedding=9, sharpness=3.0)
    assert isinstance(topology, EmbeddedGraph)
    torch.testing.assert_close(topology.query, topology.key)
    topology.key.normal_()
    logits = topology.logits()
    for i in range(5):
        for j in range(5):
            q, k = topology.query[i], topology.key[j]
            torch.testing.assert_close(logits[i, j], 3 * (q @ k) / (q.norm() * k.norm()), rtol=1e-5, atol=1e-6)
    assert logits.std() > 0.01, "agents begin with different logits"
    assert not torch.allclose(logits, logits.T), "who listens to whom need not be mutual"


def test_an_embedded_graph_finds_cliques_in_noisy_gradients() -> None:
    """What links are worth is known up to noise that is as large as their worth; hubs would be no solution."""
    topology = learned(32, embedded=True, degree=3, estimator="straight_through")
    rng, group = generator(), torch.arange(32) % 8
    worth = (group.unsqueeze(0) == group.unsqueeze(1)).float()
    adam = torch.optim.Adam(topology.parameters(), lr=topology.config.learning_rate)
    everybody = torch.arange(32).expand(1, 32, -1)
    for _ in range(150):
        weight = topology.weight(everybody, torch.tensor([EXACT]))
        assert weight is not None
        adam.zero_grad()
        torch.autograd.backward(-(weight[0] * (worth + torch.randn(32, 32, generator=rng))).sum())
        adam.step()
    source = topology.graph(None, 1).source[0]
    assert float((group[source] == group.unsqueeze(1)).float().mean()) > 0.95


@given(identity=st.lists(st.integers(0, 3), min_size=2, max_size=12), density=st.floats(0.05, 1))
@settings(max_examples=60, deadline=None)
@torch.no_grad()
def test_an_embedded_graph_serves_any_team(identity: list[int], density: float) -> None:
    topology = learned(4, embedded=True, density=density)
    trained = topology.logits()
    who = torch.tensor(identity)
    topology.resize(who)
    torch.testing.assert_close(topology.logits(), trained[who][:, who], rtol=1e-5, atol=1e-6)
    others = (who.unsqueeze(0) != who.unsqueeze(1)).sum(-1).min()
    k = min(degree(density, len(identity)), int(others))
    assert topology.degree == k
    for draw in (None, topology.draw(3, generator())):
        source = topology.graph(draw, 3).source
        is_graph(source, 3, len(identity), k)
        assert (who[source] != who.view(1, -1, 1)).all(), "nobody listens to those that stand in for the same agent"


# ---- graphs made in every step


def dynamic(agents: int = 5, **arguments: Any) -> DynamicGraph:
    torch.manual_seed(0)
    made = DynamicGraph(DynamicConfig(**arguments), agents, 8)
    with torch.no_grad():
        made.keep.weight.normal_()
    return made


def test_a_dynamic_graph_depends_on_what_agents_see() -> None:
    topology = dynamic(initial_logit=0.0)
    hidden = 5 * torch.randn(40, 5, 8)
    source, kept = topology.graph(None, 40, hidden)
    assert kept is not None
    assert torch.equal(kept[:, 0], topology.logits(hidden)[:, 0].gather(2, source) > 0)
    assert len({str(k.tolist()) for k in kept}) > 5
    one_by_one = [topology.graph(None, 1, hidden[b : b + 1]).kept for b in range(40)]
    assert torch.equal(torch.cat([k for k in one_by_one if k is not None]), kept)
    for part in (lambda: topology.graph(None, 40), lambda: topology.weight(source, torch.zeros(40).long())):
        with pytest.raises(ValueError, match="needs hidden vectors"):
            part()


@pytest.mark.parametrize("logit", [-1.0, 0.0, 2.0])
def test_edges_are_kept_as_often_as_their_logits_say(logit: float) -> None:
    torch.manual_seed(0)
    topology = DynamicGraph(DynamicConfig(initial_logit=logit), 5, 8)
    kept = topology.graph(topology.draw(2000, generator()), 2000, torch.randn(2000, 5, 8)).kept
    assert kept is not None
    assert float(kept.float().mean()) == pytest.approx(torch.tensor(logit).sigmoid().item(), abs=0.03)


@pytest.mark.parametrize("rounds", [1, 2])
def test_weights_of_a_dynamic_graph_are_a_sigmoid_that_learns_after_the_warm_up(rounds: int) -> None:
    topology = dynamic(temperature=0.6, rounds=rounds)
    hidden = torch.randn(4, 5, 8)
    draw = topology.draw(4, generator())
    source = topology.graph(draw, 4, hidden).source
    outer = torch.randn(4, rounds, 5, 4)
    noisy = topology.logits(hidden) + logistic(draw, rounds, 5, 5)
    p = (noisy / 0.6).sigmoid().gather(3, source.unsqueeze(1).expand(-1, rounds, -1, -1))
    for progress in (0.0, 0.25):
        topology.anneal(progress)
        weight = topology.weight(source, draw, hidden)
        assert weight is not None
        torch.testing.assert_close(weight, p)
        (got,) = torch.autograd.grad((weight * outer).sum(), topology.keep.bias)
        expected = (outer * p * (1 - p) / 0.6).sum((0, 2, 3)).detach() * (progress > 0)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("keeps", [1, 3, 4])
@torch.no_grad()
def test_a_dynamic_graph_of_given_degree_keeps_the_best_senders(keeps: int) -> None:
    topology = dynamic(degree=keeps)
    hidden, draw = 5 * torch.randn(40, 5, 8), topology.draw(40, generator())
    for seed in (None, draw):
        source, kept = topology.graph(seed, 40, hidden)
        scores = topology.logits(hidden)[:, 0] + gumbel(torch.zeros(1).long() if seed is None else seed, 1, 5, 5)[:, 0]
        assert kept is not None
        assert (kept.sum(-1) == keeps).all()
        scores = scores.gather(2, source)
        worst = scores.masked_fill(~kept[:, 0], torch.inf).amin(-1)
        assert (worst >= scores.masked_fill(kept[:, 0], -torch.inf).amax(-1)).all(), "agents may tie"
    weight = topology.weight(source, draw, hidden)
    assert weight is not None
    assert torch.equal(weight > 0.5, kept)


@torch.no_grad()
def test_a_dynamic_graph_takes_any_number_of_agents() -> None:
    topology = dynamic()
    for agents in (1, 2, 9):
        topology.resize(torch.zeros(agents, dtype=torch.int64))
        source, kept = topology.graph(None, 3, torch.randn(3, agents, 8))
        is_graph(source, 3, agents, agents - 1)
        assert kept is not None
        assert kept.shape == source.unsqueeze(1).shape
