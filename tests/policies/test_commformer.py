"""CommFormer against a plain reference, and what an agent can and cannot know of others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import team
from torch import Tensor, nn

from agentcomm.errors import ConfigError
from agentcomm.messages.traffic import Inbox, Links
from agentcomm.registry import build_config
from policies.commformer import CommFormer, CommFormerConfig, ListeningBlock
from policies.gate import Gate, GateConfig
from policies.topology import (
    FullConfig,
    LearnedConfig,
    LearnedTopology,
    NoLinksConfig,
    RandomConfig,
    build_topology,
    degree,
)

CREW = {"perception_agents": 4, "capture_agents": 2}


def run(policy: Any, observation: Tensor, source: Tensor, open_: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Logits and values with messages delivered untouched; gradients flow."""
    open_ = torch.ones(source.shape[:2], dtype=torch.bool) if open_ is None else open_
    links = Links(source, open_)
    logits, value = policy.run(observation, lambda _, spoken: Inbox(spoken, source, links.present, source))
    return logits, value


def influence(policy: Any, observation: Tensor, source: Tensor, open_: Tensor | None = None) -> Tensor:
    """[N, N] largest |d logits of i / d observation of j|, summed over worlds."""
    observation = observation.clone().requires_grad_()
    logits, _ = run(policy, observation, source, open_)
    rows = [
        torch.autograd.grad(logits[:, i].square().sum(), observation, retain_graph=True)[0].abs().sum((0, 2))
        for i in range(logits.shape[1])
    ]
    return torch.stack(rows)


# ---- the reference


def reference_block(block: ListeningBlock, token: Tensor, inbox_payload: Tensor, adjacency: Tensor) -> Tensor:
    """One world, one agent and one head at a time; adjacency[i, j]: i hears j.

    Args:
        block: The layer.
        token: [N, D].
        inbox_payload: [N, N, D] what i hears of j.
        adjacency: [N, N] bool.
    """
    agents, width = token.shape
    heads, size = block.heads, width // block.heads
    query, key, val = block.project.weight.split(width)
    bias, out = block.query_bias, block.out
    # The block learns the images of an edge embedding E; go back to E where the reference needs it.
    edge = torch.linalg.lstsq(key, block.relation.T).solution.T
    result = []
    for i in range(agents):
        senders = [i] + [j for j in range(agents) if j != i and adjacency[i, j]]
        mixed = []
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            scores, values = [], []
            for j in senders:
                said = token[i] if j == i else inbox_payload[i, j]
                r_ij = edge[1]
                r_ji = edge[1] if j == i else edge[int(adjacency[j, i])]
                q = query @ (token[i] + r_ij) + bias - query @ edge[1]
                k = key @ (said + r_ji)
                scores.append(q[part] @ k[part] / size**0.5)
                values.append((val @ said)[part])
            weights = torch.stack(scores).softmax(0)
            mixed.append(sum(w * v for w, v in zip(weights, values, strict=True)))
        x = block.norm(token[i] + out.weight @ torch.cat(mixed) + out.bias)
        result.append(nn.functional.layer_norm(x + block.feed(x), (width,)))
    return torch.stack(result)


@given(seed=st.integers(0, 999), heads=st.sampled_from([1, 2, 4]), agents=st.integers(2, 6), disturbed=st.booleans())
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_block_equals_dense_relation_enhanced_attention(seed: int, heads: int, agents: int, disturbed: bool) -> None:
    torch.manual_seed(seed)
    width, worlds = 8, 2
    block = ListeningBlock(width, heads)
    block.relation.normal_()
    block.query_bias.normal_()
    token = torch.randn(worlds, agents, width)
    k = int(torch.randint(1, agents, ()))
    topology = [build_topology(RandomConfig(density=k / agents + 1e-6, seed=seed + b), agents) for b in range(worlds)]
    source = torch.cat([t.neighbors(None, 1) for t in topology])
    mask = torch.rand(source.shape) < 0.8
    scale = torch.rand(source.shape) if disturbed else None
    delta = torch.randn(*source.shape, width) if disturbed else None
    inbox = Inbox(token, source, mask, source, scale, delta)
    receiver = torch.arange(agents).view(1, -1, 1)
    listed = torch.zeros(worlds, agents, agents, dtype=torch.bool).scatter(2, source, True)
    mutual = listed.transpose(1, 2).gather(2, source).long()
    got = block(token, inbox, mutual)
    payload = inbox.payload()
    for b in range(worlds):
        # The relation follows the graph; who is heard, the mask.
        heard = torch.zeros(agents, agents, dtype=torch.bool)
        said = torch.zeros(agents, agents, width)
        for i in range(agents):
            for m in range(source.shape[-1]):
                heard[i, source[b, i, m]] = mask[b, i, m]
                said[i, source[b, i, m]] = payload[b, i, m]
        expected = dense(block, token[b], said, listed[b], heard)
        torch.testing.assert_close(got[b], expected, rtol=1e-5, atol=1e-5)
    assert (source != receiver).all()


def dense(block: ListeningBlock, token: Tensor, said: Tensor, graph: Tensor, heard: Tensor) -> Tensor:
    """The reference on a graph of which some messages were lost: lost ones leave the relation r_ji alone."""
    rows = []
    for i in range(len(token)):
        adjacency = graph.clone()
        adjacency[i] = heard[i]
        rows.append(reference_block(block, token, said, adjacency)[i])
    return torch.stack(rows)


@pytest.mark.parametrize("heads", [1, 2])
@torch.no_grad()
def test_policy_equals_two_reference_blocks_and_its_heads(heads: int) -> None:
    world, built = team(3, world=CREW, heads=heads, topology={"kind": "random", "density": 0.5})
    policy: Any = built
    observation = world.reset(seed=0)
    source = policy.topology.neighbors(None, 3)
    logits, value = run(policy, observation, source)
    for b in range(3):
        graph = torch.zeros(6, 6, dtype=torch.bool).scatter(1, source[b], True)
        hidden = policy.encoder.linear(observation[b]) + policy.encoder.agent
        hidden = nn.functional.layer_norm(nn.functional.gelu(hidden), (16,))
        first = reference_block(policy.blocks[0], hidden, hidden.expand(6, -1, -1), graph)
        second = reference_block(policy.blocks[1], first, first.expand(6, -1, -1), graph)
        worth = policy.critic(policy.critic_own(hidden) + policy.critic_team(hidden.mean(0)))
        torch.testing.assert_close(value[b], worth.squeeze(-1), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(logits[b], policy.actor(second), rtol=1e-5, atol=1e-5)


# ---- shapes, order, layouts


@pytest.mark.parametrize("topology", [{"kind": "none"}, {"kind": "full"}, {"kind": "random"}, {"kind": "learned"}])
@pytest.mark.parametrize("observation", ["dense", "indices"])
def test_shapes_and_honest_payload_length(topology: dict[str, str], observation: str) -> None:
    world, policy = team(5, world=CREW | {"observation": observation}, topology=topology, gate={})
    seen = world.reset(seed=0)
    hidden = policy.encode(seen)
    assert hidden.shape == (5, 6, 16)
    assert policy.gate is not None
    assert policy.gate(hidden).shape == (5, 6)
    logits, value = run(policy, seen, policy.topology.neighbors(None, 5))
    assert logits.shape == (5, 6, world.num_actions)
    assert value.shape == (5, 6)
    for round_ in range(policy.rounds):
        spoken = policy.speak(hidden, round_)
        torch.testing.assert_close(spoken.norm(dim=-1), torch.full((5, 6), 4.0), rtol=1e-3, atol=1e-3)
        hidden = policy.hear(hidden, Inbox(spoken, s := policy.topology.neighbors(None, 5), s >= 0, s), round_)


@torch.no_grad()
def test_index_observations_mean_sums_of_codes() -> None:
    world, policy = team(5, world={"observation": "indices"})
    encoder: Any = policy.get_submodule("encoder")
    seen = world.reset(seed=0)
    assert (seen < 0).any(), "some entries are unused"
    codes = torch.zeros(*seen.shape[:2], world.layout.vocabulary + 1).scatter_add(
        2, torch.where(seen < 0, world.layout.vocabulary, seen), torch.ones(seen.shape)
    )[..., :-1]
    hidden = codes @ encoder.linear.weight.T + encoder.agent
    expected = nn.functional.layer_norm(nn.functional.gelu(hidden), (16,))
    torch.testing.assert_close(policy.encode(seen), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_order_of_messages_in_an_inbox_does_not_matter() -> None:
    world, policy = team(4, world=CREW, heads=2, topology={"kind": "full"})
    seen = world.reset(seed=0)
    source = policy.topology.neighbors(None, 4)
    mixed = source[..., torch.randperm(5)]
    for a, b in zip(run(policy, seen, source), run(policy, seen, mixed), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_renaming_agents_renames_the_outcome() -> None:
    """Agents differ by their embedding and their place in the graph, by nothing else."""
    world, built = team(4, world=CREW)
    policy: Any = built
    seen = world.reset(seed=0)
    source = policy.topology.neighbors(None, 4)
    logits, _ = run(policy, seen, source)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    policy.encoder.agent.copy_(policy.encoder.agent[order])
    renamed, _ = run(policy, seen[:, order], order.argsort()[source[:, order]])
    torch.testing.assert_close(renamed, logits[:, order], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_worlds_of_a_batch_do_not_mix() -> None:
    world, policy = team(6, world=CREW)
    seen = world.reset(seed=0)
    source = policy.topology.neighbors(None, 6)
    logits, value = run(policy, seen, source)
    for b in range(6):
        alone, worth = run(policy, seen[b : b + 1], source[b : b + 1])
        torch.testing.assert_close(alone[0], logits[b], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(worth[0], value[b], rtol=1e-5, atol=1e-6)


# ---- who can know what


def test_without_links_nobody_depends_on_anybody() -> None:
    world, policy = team(8, world=CREW, topology={"kind": "none"})
    moved = influence(policy, world.reset(seed=0), policy.topology.neighbors(None, 8))
    assert (moved.diagonal() > 0).all()
    assert not (moved - moved.diag().diag()).any()


@pytest.mark.parametrize("seed", range(4))
def test_influence_follows_paths_of_at_most_two_links(seed: int) -> None:
    world, policy = team(8, world=CREW, topology={"kind": "random", "density": 0.2, "seed": seed})
    source = policy.topology.neighbors(None, 8)
    graph = torch.eye(6).scatter(1, source[0], 1)
    paths = (graph @ graph) > 0
    assert not paths.all()
    assert torch.equal(influence(policy, world.reset(seed=0), source) > 0, paths)


def test_a_shut_gate_keeps_direct_neighbors_out() -> None:
    world, policy = team(8, world=CREW, topology={"kind": "full"})
    source = policy.topology.neighbors(None, 8)
    open_ = torch.ones(8, 6, dtype=torch.bool)
    open_[:, 2] = False
    moved = influence(policy, world.reset(seed=0), source, open_)
    assert moved[2].nonzero().flatten().tolist() == [2], "who does not listen knows only what it sees"
    assert (moved[[0, 1, 3, 4, 5]] > 0).all(), "and is still heard"


def test_the_gate_sees_only_its_own_agent() -> None:
    world, policy = team(8, world=CREW, gate={})
    observation = world.reset(seed=0).requires_grad_()
    assert policy.gate is not None
    logits = policy.gate(policy.encode(observation))
    for i in range(6):
        gradient = torch.autograd.grad(logits[:, i].sum(), observation, retain_graph=True)[0].abs().sum((0, 2))
        assert gradient.nonzero().flatten().tolist() == [i]


@pytest.mark.parametrize("huge", [1e3, 1e15, 1e30])
def test_masked_slots_have_no_influence(huge: float) -> None:
    world, policy = team(4, world=CREW)
    seen, source = world.reset(seed=0), policy.topology.neighbors(None, 4)
    mask = torch.rand(source.shape, generator=torch.Generator().manual_seed(0)) < 0.5

    def logits(delta: Tensor | None, spare: int) -> Tensor:
        def pad(x: Tensor) -> Tensor:
            return nn.functional.pad(x, (0, spare))

        def deliver(_: int, spoken: Tensor) -> Inbox:
            return Inbox(spoken, pad(source), pad(mask), source, None if delta is None else pad(mask).float(), delta)

        return policy.run(seen, deliver)[0]

    plain = logits(None, 0)
    hidden = torch.randn(4, 6, source.shape[-1] + 2, 16) * huge
    hidden.masked_fill_(nn.functional.pad(mask, (0, 2)).unsqueeze(-1), 0.0)
    torch.testing.assert_close(logits(hidden, 2), plain, rtol=1e-5, atol=1e-6)


def test_everything_masked_is_like_no_links() -> None:
    world, policy = team(4, world=CREW)
    seen, source = world.reset(seed=0), policy.topology.neighbors(None, 4)
    shut = torch.zeros(4, 6, dtype=torch.bool)
    for a, b in zip(run(policy, seen, source, shut), run(policy, seen, source[..., :0]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_control_hears_nothing_and_keeps_the_rest() -> None:
    config = CommFormerConfig(width=32, heads=2, gate=GateConfig())
    silent = CommFormer.without_messages(config)
    assert silent == CommFormerConfig(width=32, heads=2, topology=NoLinksConfig())


# ---- topology


@given(agents=st.integers(2, 9), density=st.floats(0.05, 1), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_graphs_keep_k_others_per_receiver(agents: int, density: float, seed: int) -> None:
    torch.manual_seed(seed)
    k = degree(density, agents)
    assert 1 <= k <= agents - 1
    learned = build_topology(LearnedConfig(density=density), agents)
    noise = learned.noise(5, torch.Generator().manual_seed(seed))
    random = build_topology(RandomConfig(density=density, seed=seed), agents)
    everybody = build_topology(FullConfig(), agents)
    for source, count in (
        (learned.neighbors(noise, 5), k),
        (learned.neighbors(None, 5), k),
        (random.neighbors(None, 5), k),
        (everybody.neighbors(None, 5), agents - 1),
        (build_topology(NoLinksConfig(), agents).neighbors(None, 5), 0),
    ):
        assert source.shape == (5, agents, count)
        assert source.dtype == torch.int64
        assert (source != torch.arange(agents).view(1, -1, 1)).all(), "never the receiver itself"
        assert ((source >= 0) & (source < agents)).all()
        assert (source.diff(dim=-1) > 0).all(), "each once, in ascending order"
    assert torch.equal(random.table, build_topology(RandomConfig(density=density, seed=seed), agents).table)


def learned_topology(agents: int = 6, **arguments: Any) -> LearnedTopology:
    torch.manual_seed(0)
    made = LearnedTopology(LearnedConfig(**arguments), agents)
    with torch.no_grad():
        made.logits.normal_()
    return made


def test_a_favoured_diagonal_still_does_not_compete() -> None:
    topology = learned_topology()
    with torch.no_grad():
        topology.logits.fill_diagonal_(100.0)
    noise = topology.noise(50, torch.Generator().manual_seed(0))
    assert (topology.neighbors(noise, 50) != torch.arange(6).view(1, -1, 1)).all()
    weight = topology.weight(topology.neighbors(noise, 50), noise)
    assert weight is not None
    gradient = torch.autograd.grad(weight.sum(), topology.logits)[0]
    assert gradient.isfinite().all()
    assert not gradient.diagonal().any()


def test_straight_through_weights_are_one_with_the_gradient_of_the_softmax() -> None:
    topology = learned_topology(temperature=0.7)
    noise = topology.noise(4, torch.Generator().manual_seed(1))
    source = topology.neighbors(noise, 4)
    weight = topology.weight(source, noise)
    assert weight is not None
    assert torch.equal(weight, torch.ones(4, 6, 2))
    outer = torch.randn(4, 6, 2)
    (got,) = torch.autograd.grad((weight * outer).sum(), topology.logits)
    # By the softmax's Jacobian, written out: d p_j / d l_m = p_j (1[j = m] - p_m) / tau over the N - 1 others.
    expected = torch.zeros(6, 6)
    for b in range(4):
        for i in range(6):
            others = [j for j in range(6) if j != i]
            p = ((topology.logits[i, others] + noise[b, i, others]) / 0.7).softmax(0).detach()
            for slot in range(2):
                j = others.index(int(source[b, i, slot]))
                for m in range(5):
                    jacobian = p[j] * (float(j == m) - p[m]) / 0.7
                    expected[i, others[m]] += outer[b, i, slot] * jacobian
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_sampling_is_reproducible_and_follows_the_logits() -> None:
    topology = learned_topology(4, density=0.3)
    noise = [topology.noise(4000, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise[2])
    chosen = topology.neighbors(noise[0], 4000)[..., 0]
    for i in range(4):
        frequency = torch.bincount(chosen[:, i], minlength=4) / 4000
        p = topology.logits[i].detach().clone()
        p[i] = -torch.inf
        torch.testing.assert_close(frequency, p.softmax(0), rtol=0, atol=0.035)


def test_sampling_leaves_the_global_generator_alone() -> None:
    topology = learned_topology()
    before = torch.get_rng_state()
    topology.neighbors(topology.noise(3, torch.Generator().manual_seed(0)), 3)
    assert torch.equal(before, torch.get_rng_state())


def test_the_last_phase_samples_the_executed_graph() -> None:
    topology = learned_topology(exact_after=0.8)
    executed = topology.neighbors(None, 7)
    assert not torch.equal(topology.neighbors(topology.noise(7, torch.Generator().manual_seed(0)), 7), executed)
    for progress, exact in ((0.0, False), (0.79, False), (0.8, True), (1.0, True), (2.0, True)):
        topology.anneal(progress)
        noise = topology.noise(7, torch.Generator().manual_seed(0))
        assert bool(topology.exact) == exact
        assert torch.equal(topology.neighbors(noise, 7), executed) == exact
        assert torch.equal(noise, torch.zeros_like(noise)) == exact
        assert noise.isfinite().all()


def test_temperature_falls_geometrically_to_its_final_value() -> None:
    topology = learned_topology(temperature=2.0, final_temperature=0.5)
    for progress, value in ((0.0, 2.0), (0.5, 1.0), (1.0, 0.5), (3.0, 0.5)):
        topology.anneal(progress)
        assert float(topology.temperature) == pytest.approx(value)


def test_an_agent_alone_has_nobody_to_hear() -> None:
    world, policy = team(3, "predator_prey", world={"predators": 1})
    assert policy.graph_parameters() == []
    logits, _ = run(policy, world.reset(seed=0), policy.topology.neighbors(None, 3))
    assert logits.isfinite().all()


# ---- gate and config


def test_the_gate_starts_as_open_as_asked() -> None:
    for logit in (-3.0, 0.0, 2.0):
        gate = Gate(GateConfig(initial_logit=logit), 16)
        out = gate(nn.functional.layer_norm(torch.randn(50, 3, 16), (16,)))
        assert (out - logit).abs().max() < 0.1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"heads": 3}, "heads=3 does not divide width=64"),
        ({"width": 2}, "width: .*4"),
        ({"topology": {"kind": "lerned"}}, "topology: .*'learned'"),
        (
            {"topology": {"kind": "learned", "densty": 1}},
            "topology.learned.densty: unknown key; did you mean 'density'",
        ),
        ({"topology": {"kind": "random", "density": 0}}, "topology.random.density: .*greater than 0"),
        ({"gate": {"costs": 1}}, "gate.costs: unknown key; did you mean 'cost'"),
        ({"gate": {"cost": -1}}, "gate.cost: .*greater than or equal to 0"),
        ({"headds": 1}, "headds: unknown key; did you mean 'heads'"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"policy 'commformer' cannot be used:\n  {says}"):
        build_config("policy", "commformer", arguments)
