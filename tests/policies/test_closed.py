"""Closed links in updates: what is recorded, replayed and priced, and that closed graphs and gates still learn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import attack, channel, comms, team, team_shape_of
from oracles import CREW

from agentcomm.base import registry
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.replay import reevaluate
from agentcomm.step.straight_through import carry
from agentcomm.training.minibatches import batch_of
from agentcomm.training.ppo import Update, ppo_loss
from agentcomm.training.rollout import Sampler

CLOSED = -9.0
ALONE = {"forced_open": 0.0, "dropped": 0.0}


def fields(name: str) -> set[str]:
    return set(registry.find("policy", name).Config.model_fields)


NAMES = [name for name in registry.names("policy") if name != "foreign"]  # which has no weights
ON_GRAPHS = [name for name in NAMES if "topology" in fields(name)]
GATED = [name for name in NAMES if "gate" in fields(name)]


def policy_of(name: str, world: Any, **arguments: Any) -> Any:
    config = registry.build_config("policy", name, arguments)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = registry.find("policy", name).for_world(config, world)
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape))
    return policy


def rolled(world: Any, policy: Any, steps: int = 8, **network: Any) -> Any:
    shape = team_shape_of(world, policy)
    return Sampler(world, policy, comms(shape, **network), PPOSettings(held_out=0.25), 0).collect(steps).columns


def gradient(policy: Any, columns: Any, parameter: Any) -> Any:
    settings = PPOSettings(minibatch=None)
    rows = {name: column for name, column in columns.items() if name != "held_out"}
    (rows,) = batch_of(policy, rows, settings).epoch(0, policy, torch.Generator())
    loss, _ = ppo_loss(policy, rows, settings, 0.01, False)
    return torch.autograd.grad(loss, parameter)[0]


@pytest.mark.parametrize("name", ON_GRAPHS)
def test_a_graph_without_any_edge_learns(name: str) -> None:
    if name == "slim":
        pytest.skip("its hidden vectors carry a cache, for which a scheduler is too narrow")
    world, _ = team(12)
    policy = policy_of(name, world, topology={"name": "dynamic", "initial_logit": CLOSED, "warmup": 0.0})
    columns = rolled(world, policy)
    assert not columns["mask"].any()
    assert columns["closed"].float().mean() > 0.9, "all but those that an action closed as well"
    assert gradient(policy, columns, policy.topology.keep.weight).any()


@pytest.mark.parametrize("side", ["receiver", "sender"])
@pytest.mark.parametrize("name", GATED)
def test_a_closed_gate_learns(name: str, side: str) -> None:
    if name == "ic3net" and side == "receiver":
        pytest.skip("its gates are at senders")
    world, _ = team(12)
    gate = {"kind": "straight_through", "initial_logit": CLOSED, "side": side} | ALONE
    policy = policy_of(name, world, gate=gate, topology="full")
    columns = rolled(world, policy)
    assert not columns["mask"].any()
    assert gradient(policy, columns, policy.gate.layers[-1].weight).any(), "without any price"


MIXED: dict[str, dict[str, Any]] = {
    "receiver": {"gate": {"kind": "straight_through", "initial_logit": 0.0}, "topology": "full"},
    "sender": {"gate": {"kind": "straight_through", "initial_logit": 0.0, "side": "sender"}, "topology": "full"},
    "both": {
        "gate": {"kind": "straight_through", "initial_logit": 0.0},
        "topology": {"name": "dynamic", "initial_logit": 0.0, "warmup": 0.0},
    },
    "in turns": {
        "gate": {"kind": "straight_through", "initial_logit": 0.0},
        "decoder": "autoregressive",
        "topology": {"name": "dynamic", "initial_logit": 0.0, "warmup": 0.0},
    },
    "action": {"gate": {"initial_logit": 0.0}, "topology": {"name": "dynamic", "initial_logit": 0.0, "warmup": 0.0}},
}


@pytest.mark.parametrize("form", MIXED)
def test_the_ratio_is_one_under_loss_codec_and_attack(form: str) -> None:
    world, policy = team(8, world=CREW, **MIXED[form])
    shape = team_shape_of(world, policy)
    network = {
        "channels": [channel("loss", shape, policy.topology.degree, probability=0.3)],
        "codec": registry.find("codec", "int8")(registry.build_config("codec", "int8", {}), shape),
        "attacks": [attack("noise", shape)],
    }
    columns = rolled(world, policy, 6, **network)
    optimizer = torch.optim.Adam(policy.parameters(), 1e-3)
    stats = Update(policy, PPOSettings(minibatch=None), optimizer, None, torch.Generator()).run(columns)
    assert stats["first_ratio_error"] < 1e-5
    assert stats["gradient_closed"] > 0
    assert stats["flipped"] < 0.1


@pytest.mark.parametrize("form", MIXED)
def test_a_link_is_closed_where_one_decision_alone_closed_it(form: str) -> None:
    world, policy = team(20, world=CREW, **MIXED[form])
    columns = rolled(world, policy, 5)
    closed, asked = columns["closed"], columns["asked"]
    assert closed.any()
    assert not (closed & asked).any()
    hidden = policy.encode(columns["observation"])
    logit = None if policy.gate is None else policy.listen(hidden)
    found = carry(policy, columns, hidden, logit, False, False)
    for choice in found.choices:
        noisy = choice.relaxed > 0.5
        assert torch.equal(noisy[choice.known], choice.open[choice.known]), "decisions are recovered"
    if found.weight is not None:
        assert torch.equal(found.weight[closed], torch.zeros_like(found.weight[closed]))
        assert torch.equal(found.weight[asked], torch.ones_like(found.weight[asked]))
    if found.listening is not None:
        assert torch.equal(found.listening, columns["gate"].float())


def test_forced_gates_are_open_and_have_no_gradient() -> None:
    gate = {"kind": "straight_through", "initial_logit": CLOSED, "forced_open": 0.3, "dropped": 0.2, "cost": 1.0}
    world, policy = team(40, world=CREW, gate=gate, topology="full")
    policy.anneal(1.0)
    columns = rolled(world, policy, 6)
    forced = columns["gate_noise"].isinf()
    assert torch.equal(forced, columns["gate"])
    assert float(forced.float().mean()) == pytest.approx(0.3, abs=0.05)
    assert float(columns["asked"].float().mean()) == pytest.approx(0.3 * 0.8, abs=0.05)
    assert not (columns["closed"] & forced.unsqueeze(-1)).any(), "dropped links are not closed"
    now = reevaluate(policy, columns)
    (relaxed,) = (choice.relaxed for choice in now.choices)
    assert not torch.autograd.grad(now.openness.sum(), policy.gate.layers[-1].bias, retain_graph=True)[0].isnan()
    assert torch.equal(relaxed[forced], torch.ones_like(relaxed[forced]))


def test_closed_links_count_as_often_as_messages_arrive() -> None:
    gradients = []
    for probability in (0.0, 0.5):
        gate = {"kind": "straight_through", "initial_logit": 0.0} | ALONE
        world, policy = team(60, world=CREW, gate=gate, topology="full")
        shape = team_shape_of(world, policy)
        lossy = [channel("loss", shape, policy.topology.degree, probability=probability)]
        columns = rolled(world, policy, 4, channels=lossy)
        hidden = policy.encode(columns["observation"])
        found = carry(policy, columns, hidden, policy.listen(hidden), False, False)
        assert found.listening is not None
        (slope,) = torch.autograd.grad(found.listening.sum(), found.choices[0].relaxed)
        assert (slope[columns["gate"]] == 1).all()
        gradients.append(float(slope[~columns["gate"]].mean()))
    assert gradients == pytest.approx([1.0, 0.5], abs=0.05)


def test_frozen_decisions_have_no_gradient() -> None:
    world, policy = team(8, world=CREW, **MIXED["both"])
    columns = rolled(world, policy, 4)
    for frozen in (False, True):
        loss, _ = ppo_loss(policy, columns, PPOSettings(), 0.01, False, frozen=torch.tensor(frozen))
        wanted = [policy.topology.keep.weight, policy.gate.layers[-1].weight]
        found = torch.autograd.grad(loss, wanted)
        assert all(bool(g.any()) != frozen for g in found)


def test_an_update_stops_moving_gates_once_many_would_flip() -> None:
    gate = {"kind": "straight_through", "initial_logit": 0.0, "cost": 5.0, "full_from": 0.0, "free_until": 0.0} | ALONE
    world, policy = team(30, world=CREW, gate=gate, topology="full")
    policy.anneal(1.0)
    columns = rolled(world, policy, 6)
    settings = PPOSettings(minibatch=None, epochs=30, learning_rate=1e-2)
    optimizer = torch.optim.SGD(policy.parameters(), 0.5)
    update = Update(policy, settings, optimizer, None, torch.Generator())
    flipped = []
    for rows in update.minibatches(columns):
        bias = policy.gate.layers[-1].bias.detach().clone()
        stopped = bool(flipped) and max(flipped) > 0.05
        flipped.append(float(update.step(rows)["flipped"]))
        assert not stopped or torch.equal(bias, policy.gate.layers[-1].bias)
    assert max(flipped) > 0.05


def test_a_learned_graph_is_offered_all_other_senders() -> None:
    topology = {"name": "learned", "estimator": "straight_through", "density": 0.3}
    world, policy = team(8, world=CREW, topology=topology)
    columns = rolled(world, policy, 6)
    hidden = policy.encode(columns["observation"])
    found = carry(policy, columns, hidden, None, True, False)
    agents = world.num_agents
    everybody = torch.cat([found.source, torch.arange(agents).view(1, -1, 1).expand(len(hidden), -1, -1)], -1)
    assert torch.equal(everybody.sort(-1).values, torch.arange(agents).expand_as(everybody))
    degree = policy.topology.degree
    assert found.closed is not None
    assert found.closed[..., degree:].all()
    assert not found.closed[..., :degree].any()
    loss, stats = ppo_loss(policy, columns, PPOSettings(), 0.01, True)
    slope = torch.autograd.grad(loss, policy.topology.edges)[0]
    off = ~torch.eye(agents, dtype=torch.bool)
    assert (slope[off] != 0).all()
    assert stats["ratio_error"] < 1e-5


def test_a_target_rate_moves_the_price() -> None:
    gate = {"kind": "straight_through", "initial_logit": 0.0, "target_rate": 0.2, "price_step": 0.1}
    _, policy = team(4, gate=gate)
    assert policy.gate is not None
    for rate, price in ((0.7, 0.05), (0.7, 0.1), (0.0, 0.08), (0.0, 0.06)):
        policy.gate.note(torch.tensor(rate))
        policy.anneal(0.5)
        assert float(policy.gate.price) == pytest.approx(price)


def test_the_price_rises_in_the_course_of_training() -> None:
    _, policy = team(4, gate={"cost": 0.4, "free_until": 0.2, "full_from": 0.6})
    assert policy.gate is not None
    for progress, price in ((0.0, 0.0), (0.2, 0.0), (0.3, 0.1), (0.6, 0.4), (1.0, 0.4)):
        policy.anneal(progress)
        assert float(policy.gate.price) == pytest.approx(price)
