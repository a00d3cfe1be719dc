"""population: one member acts per world and episode, within its own links, powers and limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import attack, comms, sampler, team, team_shape
from torch import Tensor

from agentcomm.base.errors import AgentcommError
from agentcomm.conformance.conversations import carry, conversation
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.training.ppo import Update

S = team_shape(worlds=400, agents=4, degree=3)
DROP = {"name": "drop"}
FLIP = {"name": "tamper", "budget": {"per_episode": 3, "per_step": 2, "start_step": 1}}
PATH = {"name": "tamper", "how": "bias", "links": [[0, 1], [2, 3]]}


def counts(*members: dict[str, Any], steps: int = 4, **arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """[B] dropped and changed messages of a whole episode, and who acted in each world."""
    network = comms(S, [attack("population", S, attacks=members, **arguments)])
    carry(network, conversation(S, steps, closed=0, ends=0))
    (guard,) = network.guards
    assert not guard.violations
    return network.ledger["dropped"], network.ledger["tampered"], guard.memory.tensors["member"]


def test_one_member_acts_per_episode() -> None:
    """Of three members, each in about a quarter of the worlds; nobody in the rest."""
    dropped, changed, member = counts(DROP, FLIP, PATH, spared=0.25)
    for number in (-2, 0, 1, 2):
        assert 60 < int((member == number).sum()) < 140
    everything = 4 * S.rounds * S.num_agents * S.degree
    assert torch.equal(dropped, torch.where(member == 0, everything, 0))
    assert torch.equal(changed[member == 1].unique(), torch.tensor([3])), "its own limit holds"
    assert torch.equal(changed[member == 2].unique(), torch.tensor([4 * S.rounds * 2])), "two links"
    assert not changed[member < 1].any()


def test_limits_of_a_step_and_of_the_population() -> None:
    _, changed, _ = counts(FLIP, steps=2)
    assert torch.equal(changed.unique(), torch.tensor([2])), "two in step 1, none in step 0"
    dropped, _, _ = counts(DROP, budget={"per_episode": 5})
    assert torch.equal(dropped.unique(), torch.tensor([5]))


def test_a_member_alone_does_what_it_does_without_a_population() -> None:
    world, policy = team(6)
    alone = sampler(world, policy, "gradient l2", steps=2).collect(6).columns
    world, policy = team(6)
    members = [{"name": "gradient", "norm": "l2", "epsilon": 2.0, "goal": "worst", "steps": 2}]
    within = sampler(world, policy, "population", attacks=members, spared=0.0).collect(6).columns
    assert torch.equal(alone["delta"], within["delta"])
    assert torch.equal(alone["action"], within["action"])


@pytest.mark.parametrize(
    ("member", "why"),
    [
        ({"name": "flood"}, "may only delay, drop, modify, read, reorder"),
        ({"name": "tamper", "node": 1}, "position 'node'"),
        ({"name": "covert", "node": 0}, "does more than attack messages"),
        ({"name": "population"}, "does more than attack messages"),
        ({"name": "tamper", "links": [[0, 9]]}, "9"),
    ],
)
def test_other_members_are_refused(member: dict[str, Any], why: str) -> None:
    with pytest.raises((AgentcommError, ValueError, IndexError), match=why):
        attack("population", S, attacks=[member])


def test_ppo_sees_what_the_population_did() -> None:
    world, policy = team(12)
    columns = sampler(world, policy, "population").collect(8).columns
    settings = PPOSettings(held_out=0.0, epochs=1)
    update = Update(policy, settings, torch.optim.Adam(policy.parameters(), 1e-3), None, torch.Generator())
    assert update.run(columns)["first_ratio_error"] < 1e-5
