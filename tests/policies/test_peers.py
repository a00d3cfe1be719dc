"""The peers of CommFormer: each against its paper's equations, and what agents can and cannot know of each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import comms, team_shape_of
from pydantic import ValidationError
from thinning import one_of_each_plugin, thinned
from torch import Tensor, nn

from agentcomm.base import registry
from agentcomm.conformance import check_policy
from agentcomm.contracts.inbox import Inbox, ProjectionCache
from agentcomm.contracts.world import World
from agentcomm.runs.config import parse
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.decide import decide
from agentcomm.step.replay import reevaluate
from agentcomm.training.rollout import Sampler
from benchmarks.plain_loop import PlainLoop

SILENT = ["mappo", "ippo"]
TALKING = ["mat", "commnet", "ic3net", "tarmac", "magic"]
CENTRAL = ["mat", "commnet", "tarmac", "magic", "mappo"]
GRAPHS = [{"name": name} for name in ("none", "ring", "full", "learned", "embedded", "dynamic")]

SMALL: dict[str, dict[str, Any]] = {
    "commnet": {"width": 8},
    "ic3net": {"width": 8, "gate": {"initial_logit": 0.5, "cost": 0.1}},
    "tarmac": {"width": 8, "signature": 3},
    "magic": {"width": 8, "heads": 2},
}
# Environment, policy and arguments; that registered forms conform in predator_capture_prey: tests/conformance.
PEERS = {form: of for form, of in registry.forms("policy").items() if of[0] in (*TALKING, *SILENT)}
ELSEWHERE: dict[str, tuple[str, str, dict[str, Any]]] = {form: ("predator_prey", *of) for form, of in PEERS.items()}
ON_GRAPHS: list[tuple[str, str, dict[str, Any]]] = [
    ("predator_capture_prey", name, arguments | {"topology": graph})
    for name, arguments in SMALL.items()
    for graph in GRAPHS
]
# Each peer in one form, and on every other graph, so that each graph has two of four peers.
FAST = [ELSEWHERE[form] for form in one_of_each_plugin(PEERS)]
FAST += [case for number, case in enumerate(ON_GRAPHS) if (number + number // len(GRAPHS)) % 2 == 0]


def make_world(environment: str, num_worlds: int, **arguments: Any) -> World:
    config = registry.build_config("environment", environment, {"size": 4, "max_steps": 5, **arguments})
    world: World = registry.find("environment", environment)(config, num_worlds)
    return world


def team(name: str, num_worlds: int = 6, crew: int = 2, **arguments: Any) -> tuple[World, Any]:
    """A world with crew + 2 agents and a small team for it, whose parameters are not where they start."""
    sizes = {"perception_agents": crew, "capture_agents": 2}
    world = make_world("predator_capture_prey", num_worlds, observation="dense", **sizes)
    small = {"width": 16} | ({"signature": 6} if name == "tarmac" else {})
    config = registry.build_config("policy", name, small | arguments)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = registry.find("policy", name).for_world(config, world)
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape))
    return world, policy


def record(world: World, policy: Any, steps: int = 6) -> dict[str, Tensor]:
    return (
        Sampler(world, policy, comms(team_shape_of(world, policy)), PPOSettings(held_out=0.0), 0).collect(steps).columns
    )


def per_sender(outputs: Tensor, observation: Tensor) -> Tensor:
    """[R, N, N] how much output [r, i] changes with what agent j observes."""
    gradients = [
        torch.autograd.grad(outputs[:, i].sum(), observation, retain_graph=True)[0].abs().sum(-1)
        for i in range(outputs.shape[1])
    ]
    return torch.stack(gradients, 1)


def random_inbox(policy: Any, hidden: Tensor, round_: int, seed: int = 0) -> Inbox:
    """Everybody's messages, tampered with, some of them refused; agent 0 accepts nothing."""
    g = torch.Generator().manual_seed(seed)
    worlds, agents, _ = hidden.shape
    source = torch.stack([torch.tensor([j for j in range(agents) if j != i]) for i in range(agents)])
    source = source.expand(worlds, -1, -1)
    mask = torch.rand(source.shape, generator=g) < 0.6
    mask[:, 0] = False
    mask[:, 1] = True
    scale = torch.rand(source.shape, generator=g)
    delta = torch.randn(*source.shape, policy.width, generator=g)
    return Inbox(policy.speak(hidden, round_), source, mask, source, scale, delta)


# ---- the contract


@pytest.mark.parametrize(("environment", "name", "arguments"), thinned([*ELSEWHERE.values(), *ON_GRAPHS], FAST))
def test_peers_conform(environment: str, name: str, arguments: dict[str, Any]) -> None:
    config = registry.build_config("policy", name, arguments)
    torch.manual_seed(0)
    check_policy(
        lambda world: registry.find("policy", name).for_world(config, world),
        lambda num_worlds: make_world(environment, num_worlds),
    )


@pytest.mark.parametrize("name", TALKING)
def test_honest_payloads_have_length_sqrt_width(name: str) -> None:
    world, policy = team(name)
    hidden = policy.encode(world.reset(0))
    for round_ in range(policy.rounds):
        told = policy.autoregressive and round_ == policy.rounds - 1
        spoken = policy.tell(hidden, torch.ones(6, 4, dtype=torch.int64)) if told else policy.speak(hidden, round_)
        torch.testing.assert_close(spoken.norm(dim=-1), torch.full((6, 4), 4.0), rtol=1e-3, atol=1e-3)
        hidden = policy.hear(hidden, random_inbox(policy, hidden, round_), round_)


@pytest.mark.parametrize("name", TALKING)
def test_what_was_refused_changes_nothing_however_large(name: str) -> None:
    world, policy = team(name)
    hidden = policy.encode(world.reset(0))
    inbox = random_inbox(policy, hidden, 0)
    assert inbox.delta is not None
    huge = replace(inbox, delta=inbox.delta.masked_fill(~inbox.mask.unsqueeze(-1), 1e30))
    heard = [policy.hear(hidden, each, 0) for each in (inbox, huge)]
    assert torch.equal(*heard)
    torch.autograd.backward(heard[1].square().sum() + heard[1].sum())
    assert all(p.grad.isfinite().all() for p in policy.parameters() if p.grad is not None)
    nothing = Inbox(inbox.spoken, *(x[..., :0] for x in (inbox.source, inbox.mask, inbox.links)))
    torch.testing.assert_close(policy.hear(hidden, nothing, 0)[:, 0], heard[0][:, 0])


@pytest.mark.parametrize("name", TALKING)
@torch.no_grad()
def test_some_receivers_hear_what_they_hear_among_all(name: str) -> None:
    world, policy = team(name)
    hidden = policy.encode(world.reset(0))
    inbox = random_inbox(policy, hidden, 0)
    rows = torch.tensor([1, 6, 11, 22])
    part = inbox.rows(rows, ProjectionCache(inbox.spoken.reshape(1, 24, -1)))
    heard = policy.hear(hidden.flatten(0, 1)[rows].unsqueeze(0), part, 0)
    torch.testing.assert_close(heard[0], policy.hear(hidden, inbox, 0).flatten(0, 1)[rows])


@pytest.mark.parametrize("name", TALKING)
def test_edge_weights_leave_what_is_heard_alone_and_get_gradients_where_it_was(name: str) -> None:
    world, policy = team(name)
    hidden = policy.encode(world.reset(0))
    inbox = random_inbox(policy, hidden, 0)
    weight = torch.ones(inbox.mask.shape, requires_grad=True)
    heard = policy.hear(hidden, replace(inbox, weight=weight), 0)
    torch.testing.assert_close(heard, policy.hear(hidden, inbox, 0))
    (gradient,) = torch.autograd.grad(heard.square().sum() + heard.sum(-1).pow(3).sum() + heard[..., 0].sum(), weight)
    assert torch.equal(gradient != 0, inbox.mask)


@pytest.mark.parametrize("name", [*TALKING, *SILENT])
def test_teams_learn_from_what_happened(name: str) -> None:
    run = parse(
        {
            "name": "peers",
            "environment": {"name": "predator_capture_prey", "observation": "indices", "max_steps": 8},
            "policy": {"name": name, "width": 32},
            "training": {"worlds": 16, "fragment": 8, "ppo": {"minibatch": 32, "epochs": 2}},
        },
        "test config",
    )
    for variant in ("team", "control"):
        loop = PlainLoop(run, variant)  # type: ignore[arg-type]
        before = {name: p.detach().clone() for name, p in loop.policy.named_parameters()}
        for _ in range(3):
            stats = loop.update.run(loop.sampler.collect(8).columns)
            assert stats["first_ratio_error"] < 1e-4
            assert stats["ratio_error"] > 1e-4
        assert any(not torch.equal(p, before[name]) for name, p in loop.policy.named_parameters())
        assert loop.policy.graph_parameters() == []


# ---- CommNet


@torch.no_grad()
def test_commnet_hears_the_mean_of_what_it_accepted() -> None:
    _, policy = team("commnet", width=4)
    policy.own[0].weight.zero_()
    policy.own[0].bias.zero_()
    policy.heard[0].copy_(torch.eye(4) * 2)
    hidden = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]])
    said = torch.tensor([[[1.0, 2, 3, 4], [0, 1, 0, 1], [4, 0, 0, 0], [9, 9, 9, 9]]])
    source = torch.tensor([[[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]])
    mask = torch.tensor([[[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]]]).bool()
    mean = torch.tensor([[[2.0, 0.5, 0, 0.5], [1, 2, 3, 4], [0, 0, 0, 0], [5 / 3, 1, 1, 5 / 3]]])
    expected = nn.functional.layer_norm(hidden + (2 * mean).tanh(), (4,))
    torch.testing.assert_close(policy.hear(hidden, Inbox(said, source, mask, source), 0), expected)


# ---- TarMAC


@torch.no_grad()
def test_tarmac_equals_a_plain_loop() -> None:
    world, policy = team("tarmac")
    hidden = policy.encode(world.reset(0))
    for round_ in range(2):
        inbox = random_inbox(policy, hidden, round_, seed=round_)
        payload, got = inbox.payload(), policy.hear(hidden, inbox, round_)
        for b in range(6):
            for i in range(4):
                own = nn.functional.layer_norm(policy.message(hidden[b, i]), (16,))
                messages = [own] + [payload[b, i, m] for m in range(3) if inbox.mask[b, i, m]]
                query = policy.query.weight @ hidden[b, i] + policy.query.bias
                scores = torch.stack([query @ message[:6] / 6**0.5 for message in messages]).exp()
                heard = sum(w * message[6:] for w, message in zip(scores / scores.sum(), messages, strict=True))
                expected = (policy.combine.weight @ torch.cat([heard, hidden[b, i]]) + policy.combine.bias).tanh()
                torch.testing.assert_close(got[b, i], expected, rtol=1e-5, atol=1e-5)
        hidden = got


def test_tarmac_needs_room_for_a_value() -> None:
    config = registry.find("policy", "tarmac").Config
    config(width=8, signature=7)
    with pytest.raises(ValidationError, match="signature=8 leaves nothing of width=8"):
        config(width=8, signature=8)


# ---- IC3Net


def test_who_does_not_speak_influences_nobody_and_who_speaks_everybody() -> None:
    world, policy = team("ic3net", num_worlds=8, gate={"initial_logit": 0.0})
    rows = record(world, policy)
    observation = rows["observation"].clone().requires_grad_()
    influence = per_sender(reevaluate(policy, rows | {"observation": observation}).log_probability, observation)
    speaks = rows["gate"].unsqueeze(1) | torch.eye(4, dtype=torch.bool)
    assert 0.2 < rows["gate"].float().mean() < 0.8
    assert torch.equal(influence != 0, speaks)


def test_ic3nets_gate_stays_at_the_sender_whatever_else_is_configured() -> None:
    config = registry.build_config("policy", "ic3net", {"gate": {"cost": 0.5}})
    assert (config.gate.side, config.gate.kind, config.gate.cost) == ("sender", "action", 0.5)
    silent = registry.find("policy", "ic3net").without_messages(config)
    assert silent.gate is None


# ---- MAGIC


@pytest.mark.parametrize("last", [False, True])
@torch.no_grad()
def test_magic_equals_a_plain_loop(last: bool) -> None:
    world, policy = team("magic", heads=2)
    hidden = policy.encode(world.reset(0))
    round_ = int(last)
    inbox, layer = random_inbox(policy, hidden, round_), policy.layers[round_]
    layer.bias.normal_()
    payload, got = inbox.payload(), policy.hear(hidden, inbox, round_)
    for b in range(6):
        for i in range(4):
            known = [hidden[b, i]] + [payload[b, i, m] for m in range(3) if inbox.mask[b, i, m]]
            images = [layer.project.weight @ h for h in known]
            mixed = []
            for head, part in enumerate((slice(0, 16), slice(16, 32)) if last else (slice(0, 8), slice(8, 16))):
                toward = layer.toward_receiver[head] @ images[0][part]
                scores = torch.stack([toward + layer.toward_sender[head] @ image[part] for image in images])
                weights = nn.functional.leaky_relu(scores, 0.2).softmax(0)
                mixed.append(sum(w * image[part] for w, image in zip(weights, images, strict=True)))
            heard = sum(mixed) / 2 + layer.bias if last else nn.functional.elu(torch.cat(mixed) + layer.bias)
            expected = nn.functional.layer_norm(hidden[b, i] + heard, (16,))
            torch.testing.assert_close(got[b, i], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rounds", [1, 2])
def test_magics_graph_follows_what_is_seen_and_messages_follow_the_graph(rounds: int) -> None:
    world, policy = team("magic", num_worlds=16, crew=3, rounds=rounds)
    with torch.no_grad():
        first = policy.encode(record(world, policy, steps=1)["observation"])
        policy.topology.keep.bias.sub_(policy.topology.logits(first).movedim(1, -1).flatten(0, -2).median(0).values)
    rows = record(world, policy, steps=1)
    observation = rows["observation"].clone().requires_grad_()
    hidden = policy.encode(observation)
    source, kept = policy.topology.graph(rows["draw"], 16, hidden)
    assert torch.equal(rows["mask"], kept[:, :rounds])
    assert rounds == 1 or not torch.equal(kept[:, 0], kept[:, 1]), "each round has a graph of its own"
    assert 0.1 < kept.float().mean() < 0.9
    executed = policy.topology.graph(None, 16, hidden).kept
    assert len(executed.flatten(1).unique(dim=0)) > 1, "it depends on what is seen"
    logits = policy.run(hidden, lambda round_, spoken: Inbox(spoken, source, kept[:, round_], source))
    heard = [torch.zeros(16, 5, 5).scatter(2, source, kept[:, r].float()) + torch.eye(5) for r in range(rounds)]
    reach = (heard[-1] @ heard[0] if rounds == 2 else heard[0]) > 0
    assert not reach.all()
    assert torch.equal(per_sender(logits.square().sum(-1), observation) != 0, reach)


def test_closed_edges_of_both_rounds_teach_magics_scheduler() -> None:
    world, policy = team("magic", num_worlds=16)
    with torch.no_grad():
        policy.topology.keep.bias.fill_(-9.0)
    policy.topology.anneal(1.0)
    rows = record(world, policy, steps=2)
    assert not rows["mask"].any()
    loss = reevaluate(policy, rows).log_probability.square().sum()
    (gradient,) = torch.autograd.grad(loss, policy.topology.keep.bias)
    assert (gradient != 0).all()


# ---- critics, and teams that never speak


@pytest.mark.parametrize("name", SILENT)
def test_agents_without_messages_do_not_know_of_each_other(name: str) -> None:
    world, policy = team(name)
    assert (policy.rounds, policy.topology.degree) == (0, 0)
    rows = record(world, policy)
    observation = rows["observation"].clone().requires_grad_()
    influence = per_sender(reevaluate(policy, rows | {"observation": observation}).log_probability, observation)
    assert torch.equal(influence != 0, torch.eye(4, dtype=torch.bool).expand_as(influence))


@pytest.mark.parametrize("name", [*TALKING, *SILENT])
def test_central_critics_see_everybody_and_others_their_own_agent(name: str) -> None:
    world, policy = team(name)
    observation = world.reset(0).requires_grad_()
    seen = per_sender(policy.value(policy.encode(observation)), observation) != 0
    own = torch.eye(4, dtype=torch.bool).expand_as(seen)
    assert torch.equal(seen, torch.ones_like(own) if name in CENTRAL else own)


# ---- MAT


@pytest.mark.parametrize("messages", [True, False])
def test_mat_is_commformer_on_the_full_graph(messages: bool) -> None:
    world, mat = team("mat", heads=2, messages=messages)
    kind = "full" if messages else "none"
    _, commformer = team("commformer", heads=2, topology={"name": kind}, decoder="autoregressive")
    commformer.load_state_dict(mat.state_dict(), strict=True)
    observation, step = world.reset(0), torch.zeros(6, dtype=torch.int64)
    graph = mat.topology.graph(None, 6)
    decisions = [
        decide(policy, observation, graph, None, step, torch.Generator().manual_seed(1)) for policy in (mat, commformer)
    ]
    for field in ("action", "logits", "value", "links"):
        assert torch.equal(getattr(decisions[0], field), getattr(decisions[1], field))
    assert mat.exchanges == commformer.exchanges == 5


def test_mats_agents_know_the_actions_of_those_before_them() -> None:
    world, mat = team("mat")
    rows = record(world, mat)
    told = reevaluate(mat, rows).log_probability
    for agent in range(4):
        other = rows["action"].clone()
        other[:, agent] = (other[:, agent] + 1) % mat.actions.options
        changed = (reevaluate(mat, rows | {"action": other}).log_probability != told).any(0)
        assert changed.tolist() == [i >= agent for i in range(4)]


@pytest.mark.parametrize("name", ["mat", "magic"])
def test_heads_must_divide_the_width(name: str) -> None:
    with pytest.raises(ValidationError, match="heads=3 does not divide width=16"):
        registry.find("policy", name).Config(width=16, heads=3)
