"""A quorum decides votes: no coalition of compromised members decides, and nobody blocks."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from builders import defense, team_shape
from torch import Tensor

from agentcomm.base.errors import RequirementError
from agentcomm.contracts.verdicts import ActionRequest
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice
from envs.agreement import Agreement, majority_votes


def decided(votes: Tensor, step: int = 0, faulty: int = 1, present: Tensor | None = None) -> Tensor:
    """What wins [B] when members vote [B, N], of three options; -1 for nothing."""
    worlds, members = votes.shape
    made = defense("quorum", team_shape(worlds=worlds, agents=members), faulty=faulty, limit=3)
    here = torch.ones_like(votes, dtype=torch.bool) if present is None else present
    world, agent = here.nonzero(as_tuple=True)
    action = votes[world, agent]
    request = ActionRequest(torch.full((worlds,), step), world, agent, torch.zeros(len(world), 3), action, action)
    replace = made.on_action(request, {}).replace
    assert replace is not None
    return torch.full((worlds,), -1).index_put((world,), replace)


def every_vote(members: int) -> Tensor:
    return torch.tensor(list(product(range(3), repeat=members)))


@pytest.mark.parametrize(("members", "faulty"), [(4, 1), (5, 1), (7, 2)])
def test_what_wins_has_more_than_half_of_the_honest_votes(members: int, faulty: int) -> None:
    votes = every_vote(members)
    winner = decided(votes, faulty=faulty)
    honest = votes[:, faulty:]  # the first are compromised; which ones they are makes no difference
    support = (honest == winner.unsqueeze(1)).sum(1)
    assert (2 * support > members - faulty)[winner >= 0].all()
    unanimous = (honest == honest[:, :1]).all(1)
    assert torch.equal(winner[unanimous], honest[unanimous, 0]), "compromised members cannot block it"


def test_nobody_is_told_of_two_winners() -> None:
    votes = every_vote(5)
    other = votes.clone()
    other[:, 0] = (votes[:, 0] + 1) % 3
    first, second = decided(votes), decided(other)
    both = (first >= 0) & (second >= 0)
    assert both.any()
    assert torch.equal(first[both], second[both])


def test_a_lead_decides_after_the_limit_if_the_compromised_did_not_make_it() -> None:
    votes = every_vote(5)
    early, late = decided(votes, step=2), decided(votes, step=3)
    assert (late >= 0).sum() > (early >= 0).sum()
    honest = torch.nn.functional.one_hot(votes[:, 1:], 3).sum(1)
    leads = honest.gather(1, late.clamp_min(0).unsqueeze(1)).squeeze(1)
    others = honest.scatter(1, late.clamp_min(0).unsqueeze(1), -1).amax(1)
    assert (leads > others)[late >= 0].all()
    split = torch.tensor([[0, 0, 1, 1, 2], [0, 0, 0, 1, 1]])
    assert decided(split, step=9).tolist() == [-1, -1]


def test_a_silent_member_does_not_block() -> None:
    votes = torch.tensor([[0, 1, 1, 1, 1]])
    silent = torch.tensor([[False, True, True, True, True]])
    assert decided(votes, present=silent).item() == 1


@pytest.mark.parametrize("defended", [False, True])
def test_one_that_stalls_keeps_no_team_from_agreeing(defended: bool) -> None:
    world = make_world(Choice(name="agreement"), 200)
    assert isinstance(world, Agreement)
    policy = make_policy(Choice(name="commnet"), world)
    made = make_comms(world, policy, [Choice(name="stall")], [Choice(name="quorum")] if defended else [])
    world.reset(seed=0)
    made.reset(torch.arange(200))
    votes = majority_votes(world).flatten()
    logits = 20.0 * torch.nn.functional.one_hot(votes, world.symbols)
    done = made.on_action(logits, votes, None, world.length, torch.arange(len(votes)))
    taken = world.step(done.view(200, -1), auto_reset=False)
    assert bool(taken.terminated.all()) == defended
    assert bool(taken.terminated.any()) == defended
    if defended:
        assert torch.equal(world.state["agreed"], majority_votes(world)[:, 0])


def test_it_needs_votes_and_enough_members() -> None:
    for environment, faulty, reason in (
        ("predator_prey", 1, "actions in predator_prey are no votes"),
        ("agreement", 2, "of 5 members, at most 1 may be compromised"),
    ):
        world = make_world(Choice(name=environment), 1)
        policy = make_policy(Choice(name="commnet"), world)
        with pytest.raises(RequirementError, match=reason):
            make_comms(world, policy, [], [Choice.model_validate({"name": "quorum", "faulty": faulty})])
