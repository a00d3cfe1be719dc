"""Members that are gone: nobody hears of them, nothing is sent to them, and learning passes over them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import comms, sampler, team, team_shape_of
from oracles import CREW, influence, rows_of

from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.decide import decide
from agentcomm.step.replay import reevaluate
from agentcomm.training.ppo import Update, ppo_loss

FORMS: dict[str, dict[str, Any]] = {
    "parallel": {},
    "autoregressive": {"decoder": "autoregressive", "blocks": 2},
    "gated": {"gate": {"initial_logit": 0.5}},
    "sender gates": {"gate": {"kind": "straight_through", "side": "sender", "initial_logit": 0.5}},
    "learned": {"topology": {"name": "learned"}, "decoder": "autoregressive"},
    "dynamic": {"topology": {"name": "dynamic"}},
}
LOSSY = {"predators": 5, "failure": 0.2, "fewest": 2, "size": 5}


def some(worlds: int, agents: int) -> torch.Tensor:
    """Who is there: never nobody."""
    alive = torch.rand(worlds, agents, generator=torch.Generator().manual_seed(5)) < 0.6
    alive[:, 0] |= ~alive.any(1)
    return alive


@pytest.mark.parametrize("form", FORMS)
def test_what_the_gone_see_influences_nobody(form: str) -> None:
    world, policy = team(12, world=CREW, **{"topology": {"name": "full"}, **FORMS[form]})
    alive, seen = some(12, 6), world.reset(seed=0)
    graph = None if policy.topology.dynamic else policy.topology.graph(None, 12)
    generator = torch.Generator().manual_seed(0)
    d = decide(policy, seen, graph, None, world.length, generator, alive)
    observation = seen.clone().requires_grad_()
    now = reevaluate(policy, rows_of(d, observation, alive=alive))
    moved = influence(now.log_probability, observation) + influence(now.value, observation)
    gone = ~alive.unsqueeze(1).expand(-1, 6, -1)
    assert not moved[gone].any()
    assert moved.diagonal(dim1=1, dim2=2)[alive].all(), "who is there knows what it sees"
    other = torch.where(alive.unsqueeze(-1), seen, seen.roll(1, 0))
    again = decide(policy, other, graph, None, world.length, torch.Generator().manual_seed(0), alive)
    assert torch.equal(again.logits, d.logits)
    assert torch.equal(again.value, d.value)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_sent_by_or_to_the_gone(form: str) -> None:
    world, policy = team(12, world=CREW, **{"topology": {"name": "full"}, **FORMS[form]})
    alive, seen = some(12, 6), world.reset(seed=0)
    graph = None if policy.topology.dynamic else policy.topology.graph(None, 12)
    network = comms(team_shape_of(world, policy))
    d = decide(policy, seen, graph, network, world.length, torch.Generator().manual_seed(0), alive)
    both = alive.unsqueeze(-1) & alive[torch.arange(12).view(-1, 1, 1), d.links]
    assert not any((inbox.mask & ~both).any() for inbox in d.inboxes)
    sent = torch.stack([inbox.mask.sum((1, 2)) for inbox in d.inboxes]).sum(0)
    assert torch.equal(network.ledger["sent"], sent)
    assert sent.any()
    if form == "parallel":
        assert torch.equal(network.ledger["sent"], policy.rounds * both.sum((1, 2)))
        count = alive.sum(1)
        assert torch.equal(both.sum((1, 2)), count * (count - 1))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("attack", [None, "noise", "impersonate"])
def test_ratio_is_one_when_members_fail(form: str, attack: str | None) -> None:
    world, policy = team(8, "predator_prey", world=LOSSY, **{"topology": {"name": "full"}, **FORMS[form]})
    s = sampler(world, policy, attack)
    s.collect(6)
    columns = s.collect(12).columns
    alive = columns["alive"]
    assert 0.1 < (~alive).float().mean() < 0.9
    assert alive.any(1).all()
    assert not (columns["active"] & ~alive).any()
    assert not columns["mask"].any(-1)[~alive.unsqueeze(1).expand(-1, columns["mask"].shape[1], -1)].any()
    with torch.no_grad():
        now = reevaluate(policy, columns)
        careless = reevaluate(policy, {n: v for n, v in columns.items() if n != "alive"})
    for name in ("log_probability", "gate_log_probability"):
        torch.testing.assert_close(getattr(now, name), columns[name], rtol=0, atol=1e-5)
    assert not torch.allclose(careless.log_probability, columns["log_probability"], atol=1e-5)
    model = [p for p in policy.parameters() if all(p is not g for g in policy.graph_parameters())]
    update = Update(policy, PPOSettings(minibatch=None), torch.optim.Adam(model, 1e-3), None, torch.Generator())
    stats = update.run(columns)
    assert stats["first_ratio_error"] < 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_passes_over_the_gone(form: str) -> None:
    world, policy = team(8, "predator_prey", world=LOSSY, **{"topology": {"name": "full"}, **FORMS[form]})
    columns = sampler(world, policy).collect(12).columns
    gone = ~columns["alive"]
    losses = []
    for factor in (0.0, 1.0):
        changed = dict(columns)
        for name in ("advantage", "target", "log_probability", "gate_log_probability"):
            changed[name] = torch.where(gone, 7 * factor, columns[name])
        loss, _ = ppo_loss(policy, changed, PPOSettings(gate_entropy=0.1), 0.01, False)
        parameters = [p for p in policy.parameters() if all(p is not g for g in policy.graph_parameters())]
        losses.append([loss.detach(), *torch.autograd.grad(loss, parameters, allow_unused=True)])
    assert all(a is None or torch.equal(a, b) for a, b in zip(*losses, strict=True))
    assert float(losses[0][0].abs()) > 0
