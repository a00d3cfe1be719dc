"""Members whose places are taken again within an episode: returns and memory end with them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.training.ppo import Update
from agentcomm.training.rollout import Sampler

BUSY = {"name": "traffic_junction", "observation": "indices", "arrival": 0.9, "max_steps": 11}


def sampler(**arguments: Any) -> Sampler:
    world = make_world(Choice.model_validate(BUSY), 16)
    policy = make_policy(Choice.model_validate({"name": "commformer", "width": 8} | arguments), world, "team", 0)
    settings = PPOSettings(minibatch=64, gae_lambda=1.0, gamma=1.0)
    return Sampler(world, policy, make_comms(world, policy), settings, 0)


@torch.no_grad()
def test_a_return_ends_when_its_member_leaves() -> None:
    collect = sampler()
    collect.policy.actor[-1].bias.data = torch.tensor([9.0, -9.0])  # all go, so that each stays for seven steps
    steps = [collect.loop.step() for _ in range(10)]
    columns = collect._columns(steps, [])
    target = columns["target"].view(10, 16, 5)
    last = collect.loop.alive
    assert last is not None
    replaced = 0
    for world in range(16):
        for slot in range(5):
            for t, record in enumerate(steps):
                if not record.step.left[world, slot]:
                    continue
                assert target[t, world, slot] == record.reward[world, slot]
                begin = next(s for s in range(t, -1, -1) if s == 0 or not steps[s - 1].alive[world, slot])
                begin = max([begin, *(s + 1 for s in range(t) if steps[s].step.left[world, slot])])
                earned = sum(float(steps[s].reward[world, slot]) for s in range(begin, t + 1))
                assert float(target[begin, world, slot]) == pytest.approx(earned, abs=1e-4)
                replaced += bool(steps[t + 1].alive[world, slot]) if t + 1 < 10 else 0
    assert replaced > 10


@pytest.mark.parametrize("memory", [{"seen": True}, {"seen": True, "heard": True}])
def test_those_who_take_a_place_remember_nothing(memory: dict[str, bool]) -> None:
    collect = sampler(memory=memory)
    taken = 0
    for _ in range(9):
        step = collect.loop.step()
        here = collect.loop.alive
        assert here is not None
        assert (collect.loop.memory[step.step.left | ~here] == 0).all()
        taken += int((step.step.left & here).sum())
        collect.loop.finish(step)
    assert taken
    update = Update(
        collect.policy,
        collect.settings,
        torch.optim.Adam(collect.policy.parameters()),
        None,
        torch.Generator().manual_seed(0),
    )
    assert update.run(collect.collect(20).columns)["first_ratio_error"] < 1e-5
