"""The peers of `benchmarks/peers.py` do the same work: the plain world has our rules and observations."""

from __future__ import annotations

import torch

from agentcomm.runs.assembly import make_world
from agentcomm.runs.ppo_settings import PPOSettings
from benchmarks.clean_ppo import BatchedWorlds, CleanPPO, ViewedWorlds
from benchmarks.peers import TASK, dense, one_view
from benchmarks.plain_world import PlainPredatorPrey


def test_the_plain_world_has_our_rules_and_observations() -> None:
    task = {key: value for key, value in TASK.items() if key != "name"}
    ours, plain = make_world(dense(), 32), PlainPredatorPrey(32, **task)
    ours.reset(0)
    plain.reset()
    ends = 0
    for _ in range(45):
        cells, prey, size = ours.state["cells"], ours.state["prey"].flatten(), plain.size
        plain.places = [torch.stack((c // size, c % size), -1) for c in cells.T]
        plain.prey, plain.length = torch.stack((prey // size, prey % size), -1), ours.length.clone()
        seen = torch.stack([plain._observe(agent) for agent in range(plain.num_agents)], 1)
        assert torch.equal(seen, ours.observe())
        actions = torch.randint(5, (32, plain.num_agents))
        step, (_, rewards, done) = ours.step(actions), plain.step(list(actions.T))
        assert torch.equal(torch.stack(rewards, 1), step.reward)
        assert torch.equal(done, step.done)
        ends += int(done.sum())
    assert ends > 32


def test_the_plain_ppo_learns() -> None:
    torch.manual_seed(0)
    ppo = CleanPPO(BatchedWorlds(make_world(dense(), 128)), PPOSettings(minibatch=256), steps=16)
    rewards = [ppo.iterate() for _ in range(12)]
    assert rewards[-1] > rewards[0] + 0.005


def test_the_plain_ppo_learns_through_views() -> None:
    ppo = CleanPPO(ViewedWorlds([one_view(seed) for seed in range(4)]), PPOSettings(minibatch=8), steps=4)
    before = [weight.clone() for weight in ppo.actor.parameters()]
    ppo.iterate()
    assert any(not torch.equal(a, b) for a, b in zip(before, ppo.actor.parameters(), strict=True))
