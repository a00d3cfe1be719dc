"""CommFormer against a plain reference; what it does not depend on; its arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import team
from oracles import CREW, dense_attention, pairs, run
from torch import Tensor, nn

from agentcomm.base.errors import ConfigError
from agentcomm.base.registry import build_config
from agentcomm.contracts.inbox import Inbox
from policies.commformer import CommFormer, CommFormerConfig
from policies.graphs.topology import NO_LINKS
from policies.parts.gate import GateConfig

DECODERS = ["parallel", "autoregressive"]
TOPOLOGIES = ["none", "full", "ring", "exponential", "random", "learned", "embedded", "dynamic"]


def norm(x: Tensor) -> Tensor:
    return nn.functional.layer_norm(x, (x.shape[-1],))


def actions(worlds: int, count: int, agents: int = 6) -> Tensor:
    return torch.randint(count, (worlds, agents), generator=torch.Generator().manual_seed(7))


# ---- the reference


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("blocks", "heads"), [(1, 1), (1, 2), (2, 1), (3, 4)])
@torch.no_grad()
def test_policy_equals_reference_blocks_and_its_heads(blocks: int, heads: int, decoder: str) -> None:
    topology = {"name": "random", "density": 0.5}
    world, built = team(3, world=CREW, heads=heads, blocks=blocks, decoder=decoder, topology=topology)
    policy: Any = built
    assert policy.rounds == blocks + 1
    observation = world.reset(seed=0)
    source = policy.topology.graph(None, 3).source
    action = actions(3, world.num_actions)
    graph = pairs(source)
    token = first = norm(nn.functional.gelu(policy.encoder.linear(observation) + policy.encoder.agent))
    for block in policy.blocks[:-1]:
        token = dense_attention(block, token, token.unsqueeze(1).expand(-1, 6, -1, -1), graph, graph)
    said, heard = token, graph
    if decoder == "autoregressive":
        said, heard = norm(token + policy.action.weight[action]), graph.tril()
    token = dense_attention(policy.blocks[-1], token, said.unsqueeze(1).expand(-1, 6, -1, -1), heard, graph)
    logits = run(policy, observation, source, action=action)
    torch.testing.assert_close(logits, policy.actor(token), rtol=1e-4, atol=1e-5)
    worth = policy.critic(policy.critic_own(first) + policy.critic_team(first.mean(1, keepdim=True)))
    value = policy.value(policy.encode(observation))
    torch.testing.assert_close(value, worth.squeeze(-1), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_index_observations_mean_sums_of_codes() -> None:
    world, policy = team(5, world={"observation": "indices"})
    encoder: Any = policy.get_submodule("encoder")
    seen = world.reset(seed=0)
    assert (seen < 0).any(), "some entries are unused"
    codes = torch.zeros(*seen.shape[:2], world.layout.vocabulary + 1).scatter_add(
        2, torch.where(seen < 0, world.layout.vocabulary, seen), torch.ones(seen.shape)
    )[..., :-1]
    expected = norm(nn.functional.gelu(codes @ encoder.linear.weight.T + encoder.agent))
    torch.testing.assert_close(policy.encode(seen), expected, rtol=1e-5, atol=1e-5)


# ---- shapes


@pytest.mark.parametrize("kind", TOPOLOGIES)
@pytest.mark.parametrize("observation", ["dense", "indices"])
@pytest.mark.parametrize("decoder", DECODERS)
@torch.no_grad()
def test_shapes_and_honest_payload_length(kind: str, observation: str, decoder: str) -> None:
    world, policy = team(
        5, world=CREW | {"observation": observation}, topology={"name": kind}, gate={}, decoder=decoder, blocks=2
    )
    seen, action = world.reset(seed=0), actions(5, world.num_actions)
    hidden = policy.encode(seen)
    assert hidden.shape == (5, 6, 16)
    assert policy.listen(hidden).shape == (5, 6)
    assert policy.value(hidden).shape == (5, 6)
    source = policy.topology.graph(None, 5, hidden).source
    assert run(policy, seen, source, action=action).shape == (5, 6, world.num_actions)
    for round_ in range(policy.rounds):
        tells = policy.autoregressive and round_ == policy.rounds - 1
        spoken = policy.tell(hidden, action) if tells else policy.speak(hidden, round_)
        torch.testing.assert_close(spoken.norm(dim=-1), torch.full((5, 6), 4.0), rtol=1e-3, atol=1e-3)
        hidden = policy.hear(hidden, Inbox(spoken, source, source >= 0, source), round_)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", TOPOLOGIES)
def test_an_agent_alone_has_nobody_to_hear(kind: str, decoder: str) -> None:
    world, policy = team(3, "predator_prey", world={"predators": 1}, topology={"name": kind}, decoder=decoder)
    assert policy.graph_parameters() == []
    source = policy.topology.graph(None, 3).source
    assert source.shape == (3, 1, 0)
    assert run(policy, world.reset(seed=0), source, action=torch.zeros(3, 1).long()).isfinite().all()


def test_actions_are_told_in_the_autoregressive_decoder_only() -> None:
    world, policy = team(3)
    assert not policy.autoregressive
    assert policy.exchanges == 2
    world, policy = team(3, decoder="autoregressive")
    assert policy.exchanges == 1 + 3
    with pytest.raises(ValueError, match="needs its actions here; to act, use"):
        run(policy, world.reset(seed=0), policy.topology.graph(None, 3).source)


# ---- what the outcome does not depend on


@pytest.mark.parametrize("decoder", DECODERS)
@torch.no_grad()
def test_the_order_of_messages_in_an_inbox_does_not_matter(decoder: str) -> None:
    world, policy = team(4, world=CREW, heads=2, topology={"name": "full"}, decoder=decoder)
    seen, action = world.reset(seed=0), actions(4, world.num_actions)
    source = policy.topology.graph(None, 4).source
    mixed = source[..., torch.randperm(5, generator=torch.Generator().manual_seed(0))]
    assert not torch.equal(source, mixed)
    a, b = (run(policy, seen, s, action=action) for s in (source, mixed))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_renaming_agents_renames_the_outcome() -> None:
    """Agents differ by their embedding and their place in the graph, by nothing else."""
    world, built = team(4, world=CREW)
    policy: Any = built
    seen = world.reset(seed=0)
    source = policy.topology.graph(None, 4).source
    logits = run(policy, seen, source)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    moved = order.argsort()[source[:, order]]
    renamed = run(policy, seen[:, order], moved)
    assert not torch.allclose(renamed, logits[:, order], atol=1e-3), "the embedding says who is who"
    policy.encoder.agent.copy_(policy.encoder.agent[order])
    torch.testing.assert_close(run(policy, seen[:, order], moved), logits[:, order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("decoder", DECODERS)
@torch.no_grad()
def test_worlds_of_a_batch_do_not_mix(decoder: str) -> None:
    world, policy = team(6, world=CREW, decoder=decoder)
    seen, action = world.reset(seed=0), actions(6, world.num_actions)
    source = policy.topology.graph(None, 6).source
    logits, value = run(policy, seen, source, action=action), policy.value(policy.encode(seen))
    for b in range(6):
        alone = run(policy, seen[b : b + 1], source[b : b + 1], action=action[b : b + 1])
        torch.testing.assert_close(alone[0], logits[b], rtol=1e-5, atol=1e-6)
        worth = policy.value(policy.encode(seen[b : b + 1]))
        torch.testing.assert_close(worth[0], value[b], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("huge", [1e3, 1e15, 1e30])
@torch.no_grad()
def test_masked_slots_have_no_influence(huge: float) -> None:
    world, policy = team(4, world=CREW)
    seen, source = world.reset(seed=0), policy.topology.graph(None, 4).source
    mask = torch.rand(source.shape, generator=torch.Generator().manual_seed(0)) < 0.5

    def logits(delta: Tensor | None, spare: int) -> Tensor:
        def pad(x: Tensor) -> Tensor:
            return nn.functional.pad(x, (0, spare))

        def deliver(_: int, spoken: Tensor) -> Inbox:
            return Inbox(spoken, pad(source), pad(mask), source, None if delta is None else pad(mask).float(), delta)

        return policy.run(policy.encode(seen), deliver)

    plain = logits(None, 0)
    hidden = torch.randn(4, 6, source.shape[-1] + 2, 16) * huge
    accepted = nn.functional.pad(mask, (0, 2)).unsqueeze(-1)
    torch.testing.assert_close(logits(hidden.masked_fill(accepted, 0.0), 2), plain, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(logits(hidden.masked_fill(~accepted, 0.0), 2), plain, atol=1e-3)


@pytest.mark.parametrize("decoder", DECODERS)
@torch.no_grad()
def test_everything_masked_is_like_no_links(decoder: str) -> None:
    world, policy = team(4, world=CREW, decoder=decoder)
    seen, action = world.reset(seed=0), actions(4, world.num_actions)
    source = policy.topology.graph(None, 4).source
    shut = torch.zeros(4, 6, dtype=torch.bool)
    none = run(policy, seen, source[..., :0], action=action)
    torch.testing.assert_close(run(policy, seen, source, shut, action), none, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(run(policy, seen, source, ~shut, action), none, atol=1e-3)


# ---- arguments


def test_the_control_hears_nothing_and_keeps_the_rest() -> None:
    config = CommFormerConfig(width=32, heads=2, blocks=3, decoder="autoregressive", gate=GateConfig())
    silent = CommFormer.without_messages(config)
    assert silent == CommFormerConfig(width=32, heads=2, blocks=3, decoder="autoregressive", topology=NO_LINKS)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"heads": 3}, "heads=3 does not divide width=64"),
        ({"width": 2}, "width: .*4"),
        ({"blocks": -1}, "blocks: .*from 0 to 8"),
        ({"decoder": "serial"}, "decoder: .*or autoregressive"),
        ({"topology": {"name": "lerned"}}, "topology: unknown topology 'lerned'; did you mean 'learned'"),
        (
            {"topology": {"name": "learned", "densty": 1}},
            "topology.densty: unknown key; did you mean 'density'",
        ),
        ({"topology": {"name": "learned", "estimator": "guess"}}, "topology.estimator: .*score"),
        ({"topology": {"name": "random", "density": 0}}, "topology.density: .*above 0"),
        ({"gate": {"costs": 1}}, "gate.costs: unknown key; did you mean 'cost'"),
        ({"gate": {"cost": -1}}, "gate.cost: .*at least 0"),
        ({"gate": {"side": "both"}}, "gate.side: .*sender"),
        ({"headds": 1}, "headds: unknown key; did you mean 'heads'"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"policy 'commformer' cannot be used:\n  {says}"):
        build_config("policy", "commformer", arguments)
