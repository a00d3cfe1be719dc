"""Agents of different hidden sizes: nobody uses more than its own, and what one says another can read."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agentcomm.base import registry
from agentcomm.conformance import check_policy
from agentcomm.contracts.policy import Steps
from agentcomm.contracts.world import World


def talking(world: World, **arguments: Any) -> Any:
    config = registry.build_config("policy", "talking", {"width": 12, "sizes": [16, 8], **arguments})
    torch.manual_seed(0)
    return registry.find("policy", "talking").for_world(config, world)


def worlds(count: int, observation: str = "indices") -> World:
    arguments = {"observation": observation, "max_steps": 8, "perception_agents": 3}
    config = registry.build_config("environment", "predator_capture_prey", arguments)
    made: World = registry.find("environment", "predator_capture_prey")(config, count)
    return made


@pytest.mark.parametrize("observation", ["dense", "indices"])
@pytest.mark.parametrize("sizes", [[16, 8], [8], [12, 4, 20]])
def test_it_keeps_its_contract(sizes: list[int], observation: str) -> None:
    check_policy(lambda world: talking(world, sizes=sizes), lambda count: worlds(count, observation))


def test_agents_have_hidden_vectors_of_their_own_size() -> None:
    world = worlds(5)
    policy = talking(world)
    hidden = policy.encode(world.reset(seed=0))
    assert hidden.shape == (5, 4, 16)
    small = hidden[:, 1::2]
    assert not small[..., 8:].any(), "the second sort has 8 numbers"
    assert small[..., :8].any()
    torch.testing.assert_close(hidden[:, ::2].norm(dim=-1), torch.full((5, 2), 4.0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(small.norm(dim=-1), torch.full((5, 2), 8**0.5), rtol=1e-3, atol=1e-3)
    spoken = policy.speak(hidden, 0)
    assert spoken.shape == (5, 4, 12), "all speak in one space"


def own_losses(policy: Any, observation: torch.Tensor) -> torch.Tensor:
    action = torch.zeros(observation.shape[:2], dtype=torch.int64)
    made: torch.Tensor = policy.auxiliary(Steps(observation, policy.encode(observation), action, action - 1))
    return made


def test_training_on_its_own_losses_makes_messages_readable_to_all_sorts() -> None:
    world = worlds(64)
    policy = talking(world, cycle=1.0, cross=1.0)
    observation = world.reset(seed=0)
    optimizer = torch.optim.Adam(policy.parameters(), 1e-2)

    def loss() -> torch.Tensor:
        return own_losses(policy, observation)

    before = float(loss().detach())
    for _ in range(150):
        optimizer.zero_grad()
        torch.autograd.backward(loss())
        optimizer.step()
    assert float(loss().detach()) < 0.4 * before
    only_cycle = talking(world, cycle=1.0, cross=0.0)
    assert own_losses(only_cycle, observation) < own_losses(talking(world, cycle=1.0, cross=1.0), observation)
