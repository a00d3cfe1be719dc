"""The task market with a thousand agents: the invariants of small ones, in time and memory that allow for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from linear import largest
from torch import Tensor

from agentcomm.base.registry import build_config
from agentcomm.contracts.cards import Cards
from agentcomm.directory.config import DirectoryConfig
from agentcomm.directory.large import answer_served, first_answer
from agentcomm.directory.shelf import Shelf
from envs.market.observation import MOST_ONE_HOT, _name, name_width
from envs.market.scripted import Choice, MarketPolicy
from envs.market.task_market import FIRST, TaskMarket

WORLDS, REQUESTERS, WORKERS = 2, 333, 667


def thousand(worlds: int = WORLDS, **arguments: Any) -> TaskMarket:
    directory = {"slots": WORKERS + 20, "capacity": 100, **arguments}
    # An answer lists three cards, so that only with many skills many workers are asked.
    given = {"requesters": REQUESTERS, "workers": WORKERS, "skills": 64, "directory": directory, "pooled": 0.0}
    return TaskMarket(build_config("environment", "task_market", given), worlds)


def test_tasks_and_money_are_conserved_among_a_thousand_agents() -> None:
    world, g = thousand(), torch.Generator().manual_seed(0)
    world.reset(0)
    earned = torch.zeros(WORLDS)
    for _ in range(6):
        joint = torch.randint(world.num_actions, (WORLDS, world.num_agents), generator=g)
        joint = torch.where(torch.rand(joint.shape, generator=g) < 0.5, FIRST, joint)
        done = world.step(joint, auto_reset=False)
        earned += done.reward.sum(1)
        s = world.state
        assert torch.equal(s["issued"], s["ended"].sum(1) + REQUESTERS), "every task ends once, or is one of the R"
        torch.testing.assert_close(earned + s["paid_outside"], s["ended"][:, 0].float(), atol=0.05, rtol=0)
        held = torch.where(s["holder"] < 0, WORKERS, s["holder"])
        count = torch.zeros(WORLDS, WORKERS + 1).scatter_add_(1, held, torch.ones(held.shape))
        assert count[:, :WORKERS].max() == 1, "one task per worker"
        assert (s["hops"] == world.config.hops - (s["passed"] >= 0).sum(2)).all()
        facts = world.directory.facts()
        assert (facts.asked - facts.unserved <= 100 * (int(world.length.max()) + 1)).all()
        assert done.observation.shape == (WORLDS, 1000, world.layout.width)
        assert ((done.observation >= 0) & (done.observation <= 1)).all()
    assert (s["ended"][:, 0] > 0).all()


def test_whoever_trusts_claims_finds_able_workers_among_a_thousand() -> None:
    choices: tuple[Choice, ...] = ("random", "claim")
    delivered = {}
    for choice in choices:
        world = thousand(worlds=2, capacity=333)
        world.reset(0)
        policy = MarketPolicy(world, choice)
        for _ in range(6):
            world.step(policy.act(), auto_reset=False)
        delivered[choice] = world.state["ended"][:, 0].float().mean()
    assert delivered["claim"] > delivered["random"]


@pytest.mark.parametrize("workers", [2, MOST_ONE_HOT, MOST_ONE_HOT + 1, 512, 513, 1024])
def test_names_are_all_different(workers: int) -> None:
    names = _name(torch.arange(workers + 1), workers)
    assert names.shape == (workers + 1, name_width(workers))
    assert len(torch.unique(names, dim=0)) == workers + 1
    assert names[:-1, -1].sum() == 0
    assert names[-1, -1] == 1


def shelf(seed: int = 0) -> tuple[Cards, Tensor]:
    """Two worlds' cards without two of the same score, and reputations."""
    g = torch.Generator().manual_seed(seed)
    cards = Cards.empty(2, 30, 3, torch.device("cpu"))
    own = torch.arange(30).expand(2, -1)
    state = cards.state()
    names = {name: name.removeprefix("card_") for name in state}
    fields = {names[name]: value for name, value in state.items()}
    fields |= {"present": torch.rand(2, 30, generator=g) < 0.8, "principal": own, "origin": own, "key": own}
    fields["claim"] = torch.rand(2, 30, 3, generator=g)
    return Cards(**fields), torch.rand(2, 30, generator=g)


def test_ranking_only_what_is_served_gives_the_answers_of_ranking_all() -> None:
    (cards, reputation), g = shelf(), torch.Generator().manual_seed(1)
    config = DirectoryConfig(slots=30)
    requirement = torch.nn.functional.one_hot(torch.randint(3, (2, 40), generator=g), 3).float()
    asked, excluded = torch.rand(2, 40, generator=g) < 0.3, torch.rand(2, 40, 30, generator=g) < 0.2
    all_ = Shelf.of(cards, reputation, 40)
    expected = all_.answer(requirement, asked, excluded, all_.ties(g), config.listed, config.reputation_weight)
    found = answer_served(cards, reputation, requirement, asked, excluded, g, config)
    for name in ("slot", "principal", "claim", "reputation", "served"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    nobody = torch.zeros_like(excluded)
    small, large = (first_answer(cards, reputation, requirement, nobody, g, config, n) for n in (30, 300))
    for name in ("slot", "principal", "claim", "reputation", "served"):
        assert torch.equal(getattr(small, name), getattr(large, name)), name


def test_registering_cards_finds_the_place_of_the_same_name_and_origin() -> None:
    cards, _ = shelf()
    g = torch.Generator().manual_seed(2)
    new = replace(shelf(3)[0], present=torch.ones_like(cards.present))
    where = torch.rand(2, 30, generator=g) < 0.5
    after, fits = cards.put(where, new, 30)
    known = cards.present
    kept, renewed = known & ~where, known & where
    assert torch.equal(after.claim[kept], cards.claim[kept])
    assert torch.equal(after.claim[renewed], new.claim[renewed])
    assert torch.equal(fits, where), "there is a place for all of them"
    assert torch.equal(after.present.sum(1), (known | where).sum(1))


def test_a_step_makes_no_tensor_with_an_entry_per_pair_of_agents_and_feature() -> None:
    """What is left per requester and name: experience, and who is not to be named; neither per card listed or skill."""
    world = thousand(worlds=2, capacity=10)
    world.reset(0)
    joint = torch.full((2, world.num_agents), FIRST)
    most = largest(lambda: world.step(joint, auto_reset=False))
    assert most <= 2 * REQUESTERS * (WORKERS + world.config.directory.newcomers + 1)
