"""Gates: who is asked, what opens them, and which gradients reach them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import comms, sampler, team, team_shape_of
from oracles import CREW, influence, rows_of
from torch import Tensor, nn

from agentcomm.contracts.topology import Graph
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.decide import decide
from agentcomm.step.gates import GateControl
from agentcomm.step.replay import reevaluate
from agentcomm.training.ppo import Update, ppo_loss
from policies.parts.gate import Gate, GateConfig

SIDES = ("receiver", "sender")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_gate_starts_as_open_as_asked() -> None:
    for logit in (-3.0, 0.0, 2.0):
        gate = Gate(GateConfig(initial_logit=logit), 16)
        out = gate(nn.functional.layer_norm(torch.randn(50, 3, 16), (16,)))
        assert (out - logit).abs().max() < 0.1


def test_the_gate_sees_only_its_own_agent() -> None:
    world, policy = team(8, world=CREW, gate={})
    observation = world.reset(seed=0).requires_grad_()
    assert policy.gate is not None
    moved = influence(policy.gate(policy.encode(observation)), observation).sum(0)
    assert torch.equal(moved > 0, torch.eye(6, dtype=torch.bool))


@pytest.mark.parametrize("decoder", ["parallel", "autoregressive"])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", ["action", "straight_through"])
def test_what_passes_is_what_gates_let_pass(kind: str, side: str, decoder: str) -> None:
    gate = {"kind": kind, "side": side, "initial_logit": 0.0}
    world, policy = team(20, world=CREW, gate=gate, topology={"name": "random", "density": 0.5}, decoder=decoder)
    network = comms(team_shape_of(world, policy))
    graph = policy.topology.graph(None, 20)
    d = decide(policy, world.reset(seed=0), graph, network, world.length, generator())
    assert 0.2 < d.gate.float().mean() < 0.8
    owner = torch.arange(6).view(1, -1, 1).expand_as(graph.source) if side == "receiver" else graph.source
    opened = d.gate[torch.arange(20).view(-1, 1, 1), owner]
    passed = [opened, opened]
    if decoder == "autoregressive":
        passed[1] = opened & (graph.source < torch.arange(6).view(1, -1, 1))
    for inbox, expected in zip(d.inboxes, passed, strict=True):
        assert torch.equal(inbox.mask, expected)
    assert torch.equal(network.ledger["sent"], sum(p.sum((1, 2)) for p in passed))
    assert bool(d.gate_log_probability.any()) == (kind == "action")


# ---- gates that open by chance, whatever the policy says


@pytest.mark.parametrize("gate", [None, {"initial_logit": 9.0}, {"kind": "straight_through", "side": "sender"}])
def test_controlled_gates_open_as_often_as_asked(gate: dict[str, Any] | None) -> None:
    world, policy = team(400, gate=gate, topology={"name": "full"})
    seen, graph = world.reset(seed=0), policy.topology.graph(None, 400)
    for probability in (0.0, 0.3, 1.0):
        d, again, other = (
            decide(policy, seen, graph, None, world.length, None, control=GateControl(probability, generator(seed)))
            for seed in (0, 0, 1)
        )
        assert float(d.gate.float().mean()) == pytest.approx(probability, abs=5 * (0.25 / 1200) ** 0.5)
        assert torch.equal(d.gate, again.gate)
        assert torch.equal(d.gate, other.gate) == (probability != 0.3)
        assert not d.gate_log_probability.any(), "chance is no choice of the policy"
        heard = torch.stack([inbox.mask.float().mean() for inbox in d.inboxes])
        torch.testing.assert_close(heard, d.gate.float().mean().expand(2))
    assert probability == 1.0
    open_ = decide(policy, seen, graph, None, world.length, None, control=GateControl(1.0, generator()))
    shut = decide(policy, seen, graph, None, world.length, None, control=GateControl(0.0, generator()))
    alone = decide(policy, seen, Graph(graph.source[..., :0]), None, world.length, None)
    torch.testing.assert_close(shut.logits, alone.logits, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(open_.logits, alone.logits, atol=1e-3)


# ---- straight-through gates


@pytest.mark.parametrize("form", [None, "noise", "impersonate"])
@pytest.mark.parametrize("decoder", ["parallel", "autoregressive"])
@pytest.mark.parametrize("side", SIDES)
def test_ratio_is_one_before_the_first_step(side: str, decoder: str, form: str | None) -> None:
    """The noise is replayed, and openness has the value of the gate that was recorded."""
    gate = {"kind": "straight_through", "side": side, "initial_logit": 0.0, "cost": 0.1, "dropped": 0.0}
    world, policy = team(8, gate=gate, decoder=decoder, topology={"name": "full"})
    columns = sampler(world, policy, form).collect(10).columns
    assert 0.2 < columns["gate"].float().mean() < 0.8
    with torch.no_grad():
        now = reevaluate(policy, columns)
        logit = policy.listen(policy.encode(columns["observation"]))
    assert logit is not None
    assert torch.equal(now.openness, columns["gate"].float())
    assert torch.equal(logit + columns["gate_noise"] > 0, columns["gate"])
    assert not now.gate_log_probability.any()
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    stats = Update(policy, PPOSettings(minibatch=None), optimizer, None, generator()).run(columns)
    assert stats["first_ratio_error"] < 1e-5
    assert stats["ratio_error"] > 1e-4, "the parameters moved"


def gate_gradient(policy: Any, rows: dict[str, Tensor], value: Any) -> Tensor:
    """[R, N] gradient of a loss with respect to gate logits."""
    seen: list[Tensor] = []

    def listen(hidden: Tensor) -> Tensor:
        seen.append(policy.gate(hidden))
        return seen[0]

    policy.listen = listen
    try:
        (gradient,) = torch.autograd.grad(value(), seen)
    finally:
        del policy.listen
    return gradient


@pytest.mark.parametrize("decoder", ["parallel", "autoregressive"])
@pytest.mark.parametrize("side", SIDES)
def test_the_task_reaches_open_and_closed_gates(side: str, decoder: str) -> None:
    """Except those on which no message depends: the first agent listens to nobody in turns, the last is not heard."""
    gate = {"kind": "straight_through", "side": side, "initial_logit": 0.0}
    world, policy = team(30, world=CREW, gate=gate, decoder=decoder, topology={"name": "full"})
    seen = world.reset(seed=0)
    d = decide(policy, seen, policy.topology.graph(None, 30), None, world.length, generator())
    rows = rows_of(d, seen)
    gradient = gate_gradient(policy, rows, lambda: reevaluate(policy, rows).log_probability.sum())
    assert (gradient != 0).all()


@pytest.mark.parametrize("side", SIDES)
def test_cost_pushes_all_logits_down(side: str) -> None:
    cost = 0.3
    world, policy = team(
        30, gate={"kind": "straight_through", "side": side, "initial_logit": 0.0, "cost": cost, "temperature": 0.8}
    )
    policy.anneal(1.0)  # until the price has risen
    columns = sampler(world, policy).collect(4).columns
    columns["advantage"] = torch.zeros_like(columns["advantage"])
    plain = PPOSettings(value_weight=0)

    def loss(scale: float) -> Any:
        return lambda: ppo_loss(policy, columns, plain, 0.0, False, scale)[0]

    got = gate_gradient(policy, columns, loss(1.0))
    decided = columns["gate_noise"].isfinite()
    assert (got[decided] > 0).all(), "so that descent closes gates"
    assert not got[~decided].any(), "nobody decided to open those that were forced open"
    with torch.no_grad():
        logit = policy.gate(policy.encode(columns["observation"]))
        p = ((logit + columns["gate_noise"]) / 0.8).sigmoid()
    price = cost * policy.topology.degree / 3 / got.numel()
    torch.testing.assert_close(got, price * p * (1 - p) / 0.8, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(gate_gradient(policy, columns, loss(2.0)), got / 2)


def test_straight_through_gates_pay_in_the_loss_and_not_in_the_reward() -> None:
    targets = []
    for cost in (0.0, 0.5):
        gate = {"kind": "straight_through", "initial_logit": 0.0, "cost": cost}
        targets.append(sampler(*team(6, gate=gate)).collect(6).columns["target"])
    assert torch.equal(*targets)
