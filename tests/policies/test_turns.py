"""Deciding in turns: as soon as possible, and with the same outcome as one agent after the other."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from builders import comms, team, team_shape_of
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import CREW, one_after_the_other, pairs
from torch import Tensor

from agentcomm.contracts.inbox import Inbox, ProjectionCache
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.topology import Graph
from agentcomm.contracts.traffic import Links
from agentcomm.step.decide import decide
from agentcomm.step.turns import decide_sequentially, turns

AGENTS = 6


@cache
def autoregressive(blocks: int = 1, heads: int = 2) -> CommPolicy:
    return team(2, world=CREW, topology={"name": "full"}, decoder="autoregressive", blocks=blocks, heads=heads)[1]


def links_of(seed: int, worlds: int = 2, agents: int = AGENTS, density: float = 0.5) -> Links:
    """Any links: some not carried, some receivers deaf."""
    g = torch.Generator().manual_seed(seed)
    everybody = torch.arange(agents)
    source = torch.stack([everybody[everybody != i] for i in range(agents)]).expand(worlds, -1, -1)
    carried = torch.rand(source.shape, generator=g) < density
    return Links(source, torch.rand(worlds, agents, generator=g) < 0.9, carried)


def quiet(spoken: Tensor, links: Links, kind: int) -> Inbox:
    return Inbox(spoken, links.source, links.present, links.source)


def noise(seed: int, worlds: int = 2, actions: int = 6) -> Tensor:
    uniform = torch.rand(worlds, AGENTS, actions, generator=torch.Generator().manual_seed(seed))
    return -(-uniform.clamp(1e-6, 1 - 1e-6).log()).log()


def longest_chain(graph: list[list[bool]], agent: int) -> int:
    """Messages that must have been told one after the other before the agent can act."""
    before = [longest_chain(graph, j) + 1 for j in range(agent) if graph[agent][j]]
    return max(before, default=0)


@given(seed=st.integers(0, 2**31), agents=st.integers(1, 9), density=st.sampled_from([0.0, 0.2, 0.5, 1.0]))
@settings(max_examples=60, deadline=None)
def test_an_agent_acts_right_after_the_last_it_waits_for(seed: int, agents: int, density: float) -> None:
    links = links_of(seed, 3, agents, density)
    turn, told = turns(links)
    order = torch.arange(agents).view(1, -1, 1)
    assert torch.equal(told, links.present & (links.source < order))
    graph = pairs(links.source, told).tolist()
    expected = [[longest_chain(graph[b], i) for i in range(agents)] for b in range(3)]
    assert turn.tolist() == expected


@given(seed=st.integers(0, 2**31), density=st.sampled_from([0.0, 0.2, 0.6, 1.0]))
@settings(max_examples=30, deadline=None)
@torch.no_grad()
def test_as_many_exchanges_as_the_graph_is_deep(seed: int, density: float) -> None:
    links = links_of(seed, density=density)
    kinds: list[int] = []
    sent = torch.zeros_like(links.present)

    def exchange(spoken: Tensor, now: Links, kind: int) -> Inbox:
        kinds.append(kind)
        assert not (sent & now.present).any(), "nobody is told anything twice"
        sent.logical_or_(now.present)
        return quiet(spoken, now, kind)

    policy = autoregressive()
    _, _, told = decide_sequentially(policy, torch.randn(2, AGENTS, policy.width), links, exchange, None)
    earlier = links.present & (links.source < torch.arange(AGENTS).view(1, -1, 1))
    graph = pairs(links.source, earlier).tolist()
    depth = max(longest_chain(graph[b], i) for b in range(2) for i in range(AGENTS))
    assert kinds == list(range(policy.rounds - 1, policy.rounds + depth))
    assert policy.rounds + depth <= policy.exchanges
    assert torch.equal(sent, earlier)
    assert torch.equal(told.mask, earlier)


@given(seed=st.integers(0, 2**31), density=st.sampled_from([0.1, 0.5, 1.0]), greedy=st.booleans())
@settings(max_examples=40, deadline=None)
@torch.no_grad()
def test_turns_decide_as_one_after_the_other(seed: int, density: float, greedy: bool) -> None:
    policy, links = autoregressive(), links_of(seed, density=density)
    hidden = torch.randn(2, AGENTS, policy.width, generator=torch.Generator().manual_seed(seed))
    gumbel = None if greedy else noise(seed)
    logits, _, _ = decide_sequentially(policy, hidden, links, quiet, gumbel)
    expected = one_after_the_other(policy, hidden, links, gumbel)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_what_was_told_matters() -> None:
    """Otherwise the test above would say nothing: other actions of those before give other logits."""
    policy, links = autoregressive(), links_of(0, density=1.0)
    hidden = torch.randn(2, AGENTS, policy.width, generator=torch.Generator().manual_seed(0))
    first, other = (decide_sequentially(policy, hidden, links, quiet, noise(seed))[0] for seed in (0, 1))
    differs = (first - other).abs().amax(-1) > 1e-3
    assert not differs[:, 0].any(), "the first agent is told nothing"
    assert differs[:, 1:].float().mean() > 0.5


@pytest.mark.parametrize("density", [0.3, 1.0])
@torch.no_grad()
def test_the_cache_gives_what_no_cache_gives(density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, links = autoregressive(), links_of(1, density=density)
    hidden = torch.randn(2, AGENTS, policy.width, generator=torch.Generator().manual_seed(1))
    cached, _, _ = decide_sequentially(policy, hidden, links, quiet, noise(1))
    calls = []

    def project(self: ProjectionCache, weight: Tensor) -> Tensor:
        calls.append(weight)
        return torch.nn.functional.linear(self.spoken, weight)

    monkeypatch.setattr(ProjectionCache, "project", project)
    plain, _, _ = decide_sequentially(policy, hidden, links, quiet, noise(1))
    assert len(calls) == int(turns(links)[0].max()) + 1
    torch.testing.assert_close(cached, plain, rtol=1e-6, atol=1e-6)


@given(plan=st.lists(st.tuples(st.lists(st.integers(0, 4), max_size=3, unique=True), st.integers(0, 1)), max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_cache_projects_what_has_been_spoken_so_far(plan: list[tuple[list[int], int]]) -> None:
    torch.manual_seed(0)
    weights = [torch.randn(3, 4), torch.randn(2, 4)]
    made = ProjectionCache(torch.zeros(1, 5, 4))
    said = torch.zeros(1, 5, 4)
    for rows, which in plan:
        payload = torch.randn(len(rows), 4)
        made.speak(torch.tensor(rows, dtype=torch.int64), payload)
        said[0, rows] = payload
        torch.testing.assert_close(made.project(weights[which]), said @ weights[which].T, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
@torch.no_grad()
def test_agents_of_the_same_turn_do_not_depend_on_each_other(seed: int) -> None:
    policy, links = autoregressive(), links_of(seed, worlds=1, density=0.3)
    turn = turns(links)[0][0]
    hidden = torch.randn(1, AGENTS, policy.width)
    gumbel = noise(seed, worlds=1)
    before = decide_sequentially(policy, hidden, links, quiet, gumbel)[0][0]
    shared = 0
    for j in range(AGENTS):
        changed = hidden.clone()
        changed[0, j] = torch.randn(policy.width)
        after = decide_sequentially(policy, changed, links, quiet, gumbel)[0][0]
        mates = (turn <= turn[j]) & (torch.arange(AGENTS) != j)
        shared += int((turn == turn[j]).sum()) - 1
        torch.testing.assert_close(after[mates], before[mates], rtol=0, atol=1e-6)
        assert not torch.allclose(after[j], before[j], atol=1e-4)
    assert shared > 0, "some agents shared a turn"


@pytest.mark.parametrize("blocks", [1, 2])
@torch.no_grad()
def test_a_whole_decision_in_turns(blocks: int) -> None:
    """Through a network that only counts; the graph decides how many messages there are."""
    world, policy = team(5, world=CREW, topology={"name": "full"}, decoder="autoregressive", blocks=blocks)
    seen = world.reset(seed=0)
    source = policy.topology.graph(None, 5).source
    kept = torch.rand(source.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    network = comms(team_shape_of(world, policy))
    d = decide(policy, seen, Graph(source, kept), network, world.length, None)
    state: Any = policy.encode(seen)
    links = Links(source, torch.ones(5, AGENTS, dtype=torch.bool), kept)
    for round_ in range(blocks):
        state = policy.hear(state, quiet(policy.speak(state, round_), links, round_), round_)
    torch.testing.assert_close(d.logits, one_after_the_other(policy, state, links, None), rtol=1e-5, atol=1e-5)
    earlier = kept & (source < torch.arange(AGENTS).view(1, -1, 1))
    assert torch.equal(network.ledger["sent"], blocks * kept.sum((1, 2)) + earlier.sum((1, 2)))


def test_actions_must_be_known_to_tell_of_them() -> None:
    world, policy = team(2, decoder="autoregressive", topology={"name": "full"})
    source = policy.topology.graph(None, 2).source
    hidden = policy.encode(world.reset(seed=0))
    mask = torch.ones_like(source, dtype=torch.bool)
    with pytest.raises(ValueError, match="needs its actions here"):
        policy.run(hidden, lambda _, spoken: Inbox(spoken, source, mask, source))
