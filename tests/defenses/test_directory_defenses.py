"""Defenses of a directory in the market that they are made for: what each takes from its attack, and what it cannot."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from agentcomm.contracts.outcome import Facts
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice
from envs.market.scripted import MarketPolicy
from envs.market.task_market import TaskMarket

WORLDS = 40
MARKET = "task_market:max_steps=12"


@cache
def played(attack: str, *defenses: str) -> tuple[float, Facts]:
    """Reward of an episode, mean over agents and worlds, and what was counted, with scripted members."""
    world = make_world(Choice.parse(MARKET), WORLDS)
    assert isinstance(world, TaskMarket)
    policy = make_policy(Choice(name="ippo"), world)
    made = make_comms(world, policy, [Choice.parse(attack)] if attack else [], [Choice.parse(d) for d in defenses])
    world.reset(seed=0)
    made.reset(torch.arange(WORLDS))
    members = MarketPolicy(world, "claim")
    total = torch.zeros(WORLDS)
    for _ in range(world.max_steps):
        total += world.step(members.act(), auto_reset=False).reward.mean(1)
    return total.mean().item(), world.directory.facts()


def share(name: str, attack: str, *defenses: str) -> float:
    return played(attack, *defenses)[1].share(name).mean().item()


@pytest.mark.parametrize(
    ("attack", "defenses", "what", "most"),
    [
        ("sybil", ("admission",), "misrouted", 0.4),
        ("sybil", ("admission:invitations=0",), "misrouted", 0.0),
        ("blast", ("admission",), "unserved", 0.0),
        ("half_open", ("admission",), "unserved", 0.4),
        ("copied_card", ("signed_cards",), "misrouted", 0.0),
        ("copied_card:lift=0.0", ("signed_cards", "challenge"), "misrouted", 0.0),
        ("rug_pull", ("pinning",), "spoiled", 0.0),
        ("rank", ("track_record",), "misrouted", 0.5),
    ],
)
def test_each_answers_its_attack(attack: str, defenses: tuple[str, ...], what: str, most: float) -> None:
    bare, defended = share(what, attack), share(what, attack, *defenses)
    assert bare > 0.1
    assert defended <= most * bare
    assert played(attack, *defenses)[0] > played(attack)[0]


@pytest.mark.parametrize(
    ("attack", "defense", "what"),
    [
        ("copied_card:lift=0.0", "signed_cards", "misrouted"),  # a signature is copied with the card
        ("sybil", "signed_cards", "misrouted"),
        ("rug_pull:rename=true", "pinning", "spoiled"),
        ("rank:whitewash=false", "admission", "misrouted"),  # one name is enough
    ],
)
def test_what_they_cannot_stop(attack: str, defense: str, what: str) -> None:
    assert share(what, attack, defense) >= 0.9 * share(what, attack) > 0.05


def test_requesters_see_that_a_hub_has_changed_claims() -> None:
    attack = "hub_poison:field=claim,probability=0.5"
    answers = ((), ("signed_cards",), ("signed_cards", "last_good"))
    bare, signed, kept = (played(attack, *chosen)[0] for chosen in answers)
    assert bare < signed < kept
    assert kept > 0.9 * played("")[0]


def test_old_answers_expire() -> None:
    plain, short, long = (played("blast", *chosen)[0] for chosen in ((), ("last_good:age=2",), ("last_good",)))
    assert plain < short < long < played("")[0]


@pytest.mark.parametrize(("recall", "followed"), [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)])
def test_instructions_are_followed_as_far_as_they_are_not_recognized(recall: float, followed: float) -> None:
    obeyed = []
    for chosen in ((), (f"instruction_filter:recall={recall}",)):
        world = make_world(Choice.model_validate({"name": "task_market", "directory": {"obedience": 1.0}}), 2 * WORLDS)
        assert isinstance(world, TaskMarket)
        attack = Choice.model_validate({"name": "description", "whitewash": False})
        made = make_comms(world, make_policy(Choice(name="ippo"), world), [attack], [Choice.parse(d) for d in chosen])
        world.reset(seed=0)
        made.reset(torch.arange(2 * WORLDS))
        members = MarketPolicy(world, "reputation")
        for _ in range(8):
            world.step(members.act(), auto_reset=False)
        obeyed.append(world.directory.facts().obeyed.sum().item())
    assert obeyed[0] > 0
    assert obeyed[1] == pytest.approx(followed * obeyed[0], abs=0.15 * obeyed[0])


def test_members_updates_are_approved_unless_nobody_does_that() -> None:
    for approve, changes in (("members", True), ("nobody", False)):
        world = make_world(Choice(name="task_market"), 4)
        assert isinstance(world, TaskMarket)
        policy = make_policy(Choice(name="ippo"), world)
        made = make_comms(world, policy, [], [Choice.model_validate({"name": "pinning", "approve": approve})])
        world.reset(seed=0)
        made.reset(torch.arange(4))
        before = world.directory.cards.claim.clone()
        world.step(torch.full((4, world.num_agents), 3), auto_reset=False)  # idle workers claim every skill
        assert bool((world.directory.cards.claim != before).any()) == changes


def test_all_together_cost_clean_teams_nothing() -> None:
    chosen = ("admission", "signed_cards", "challenge", "pinning", "instruction_filter", "member_ratings")
    assert played("", *chosen)[0] == played("")[0]
