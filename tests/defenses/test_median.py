"""median: a minority moves nobody; what it costs is known; PPO replays it exactly, and senders still get gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from builders import attack, comms, defense, sampler, team, team_shape, team_shape_of

from agentcomm.conformance.conversations import carry, conversation, heard
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.training.ppo import Update

S = team_shape(agents=6, degree=5)


@pytest.mark.parametrize("epsilon", [5.0, 1e6, 1e30])
def test_a_liar_moves_nobody_beyond_honest_values(epsilon: float) -> None:
    exchanges = conversation(S, 5, closed=0)
    network = comms(S, [attack("noise", S, position="node", node=1, epsilon=epsilon)], [defense("median", S)])
    plain = carry(comms(S), exchanges)
    for e, inbox, honest in zip(exchanges, carry(network, exchanges), plain, strict=True):
        others = e.links.source != 1
        said = heard(honest)
        low = said.masked_fill(~others.unsqueeze(-1), torch.inf).amin(2, keepdim=True)
        high = said.masked_fill(~others.unsqueeze(-1), -torch.inf).amax(2, keepdim=True)
        assert (heard(inbox) >= low - 1e-4).all()
        assert (heard(inbox) <= high + 1e-4).all()


@pytest.mark.parametrize("degree", [3, 4])
def test_it_is_the_coordinate_wise_median(degree: int) -> None:
    s = team_shape(agents=6, degree=degree)
    exchanges = conversation(s, 3, closed=0)
    network = comms(s, [], [defense("median", s)])
    for inbox, plain in zip(carry(network, exchanges), carry(comms(s), exchanges), strict=True):
        expected = heard(plain).quantile(0.5, dim=2, keepdim=True).expand_as(heard(plain))
        torch.testing.assert_close(heard(inbox), expected, rtol=0, atol=1e-5)


def test_small_inboxes_are_left_alone() -> None:
    s = team_shape(degree=2)
    exchanges = conversation(s, 4)
    for inbox, plain in zip(
        carry(comms(s, [], [defense("median", s)]), exchanges), carry(comms(s), exchanges), strict=True
    ):
        assert torch.equal(heard(inbox), heard(plain))


def test_gradients_reach_the_senders_through_it() -> None:
    e = conversation(S, 1, closed=0)[0]
    inbox = comms(S, [], [defense("median", S)]).exchange(e.spoken, e.links, e.step, e.round)
    spoken = e.spoken.clone().requires_grad_()
    replace(inbox, spoken=spoken).payload().sum().backward()  # type: ignore[no-untyped-call]
    assert spoken.grad is not None
    assert torch.equal(spoken.grad, torch.full_like(spoken, S.num_agents - 1))


@pytest.mark.parametrize("form", [None, "noise"])
def test_the_first_ratio_is_one(form: str | None) -> None:
    world, policy = team(6, gate={"initial_logit": 0.5}, topology={"name": "full"})
    s, size = sampler(world, policy), team_shape_of(world, policy)
    attacks = [] if form is None else [attack(form, size)]
    s.loop.comms = comms(size, attacks, [defense("median", size, least=2)])
    columns = s.collect(6).columns
    assert columns["delta"].any()
    settings = PPOSettings(minibatch=None)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    stats = Update(policy, settings, optimizer, None, torch.Generator().manual_seed(0)).run(columns)
    assert stats["first_ratio_error"] < 1e-6
    assert stats["ratio_error"] > 1e-4
