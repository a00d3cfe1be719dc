"""The variational bottleneck: what is said is drawn, said again in the update, and paid for by its information."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import sampler, team
from oracles import CREW
from torch.distributions import Normal, kl_divergence

from agentcomm.runs.assembly import make_comms
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.decide import decide
from agentcomm.step.replay import reevaluate
from agentcomm.training.ppo import Update
from policies.graphs.noise import normal
from policies.parts.bottleneck import Bottleneck, BottleneckConfig


def test_information_is_the_divergence_from_the_prior() -> None:
    torch.manual_seed(0)
    made = Bottleneck(BottleneckConfig(), 8)
    with torch.no_grad():
        made.log_variance.weight.normal_()
    said = torch.randn(3, 4, 8)
    _, nats = made(said, torch.arange(3), 0)
    spread = (0.5 * made.log_variance(said).clamp(-8, 4)).exp()
    expected = kl_divergence(Normal(made.mean(said), spread), Normal(0.0, 1.0))
    torch.testing.assert_close(nats, expected, rtol=1e-4, atol=1e-4)


def test_noise_is_normal_and_depends_on_draw_round_and_place() -> None:
    draws = torch.arange(2000)
    first = normal(draws, 0, 3, 4)
    assert torch.equal(first, normal(draws, 0, 3, 4))
    assert not torch.equal(first, normal(draws, 1, 3, 4))
    assert first.isfinite().all()
    assert abs(first.mean()) < 0.03
    assert abs(first.std() - 1) < 0.03
    flat = first.flatten(1)
    assert (torch.corrcoef(flat.T) - torch.eye(12)).abs().max() < 0.1


def test_greedy_messages_are_means_without_idle_entries() -> None:
    made = Bottleneck(BottleneckConfig(idle=0.5), 8)
    made.information[:3] = 0.1
    payload, _ = made(torch.randn(2, 3, 8), None, 0)
    assert not payload[..., :3].any()
    assert payload[..., 3:].all()
    made.note(torch.full((5, 2, 3, 8), 100.0))
    assert made.spoken.all(), "entries that say something again are sent again"


@pytest.mark.parametrize("decoder", ["parallel", "autoregressive"])
@pytest.mark.parametrize("form", [None, "noise", "replay"])
def test_an_update_says_again_what_the_rollout_said(decoder: str, form: str | None) -> None:
    world, policy = team(8, world=CREW, decoder=decoder, message_noise={"weight": 0.01}, topology={"name": "full"})
    columns = sampler(world, policy, form).collect(6).columns
    now = reevaluate(policy, columns)
    torch.testing.assert_close(now.log_probability, columns["log_probability"], rtol=0, atol=1e-5)
    assert now.nats is not None
    assert now.nats.shape == (48, policy.rounds, 6, 16)


def test_a_price_makes_messages_say_less() -> None:
    def nats(weight: float) -> float:
        world, policy = team(16, world=CREW, message_noise={"weight": weight}, topology={"name": "full"})
        made = sampler(world, policy)
        optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
        settings = PPOSettings(minibatch=None, epochs=10)
        update = Update(policy, settings, optimizer, None, torch.Generator().manual_seed(0))
        for _ in range(3):
            update.run(made.collect(8).columns)
        return float(policy.message_noise.information.sum())

    assert nats(1.0) < 0.7 * nats(0.0)


def test_idle_entries_are_not_paid_for_on_the_wire() -> None:
    world, built = team(4, world=CREW, message_noise={}, topology={"name": "full"})
    policy: Any = built
    sizes = []
    for idle in (0, 6):
        policy.message_noise.information[:idle] = 0.0
        network = make_comms(world, policy)
        decide(policy, world.reset(seed=0), policy.topology.graph(None, 4), network, world.length, None)
        ledger = network.network.ledger
        sizes.append(int(ledger.bytes.sum() / ledger["sent"].sum()))
    assert sizes[0] - sizes[1] == 6 * 4
