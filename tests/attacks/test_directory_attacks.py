"""Attacks on the directory: each does harm in the task market, its control does none, and both are measured."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
import torch
from builders import install
from forms import DIRECTORY_FORMS, attack_forms
from thinning import one_of_each_plugin, thinned
from torch import Tensor

from agentcomm.base import registry
from agentcomm.contracts.attack import hooks
from agentcomm.contracts.directory_attack import DirectoryAttack
from agentcomm.contracts.outcome import Facts
from agentcomm.contracts.shape import TeamShape
from agentcomm.evaluation.metrics import measure
from agentcomm.evaluation.play import play
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice
from envs.market.scripted import Choice as Criterion
from envs.market.scripted import MarketPolicy
from envs.market.task_market import TaskMarket

WORLDS = 300


Defenses = dict[str, dict[str, Any]]


def market(
    name: str | None,
    worlds: int = WORLDS,
    directory: dict[str, Any] | None = None,
    hops: int = 2,
    defenses: Defenses | None = None,
    **arguments: Any,
) -> TaskMarket:
    about = {"hops": hops, "directory": directory or {}}
    world = TaskMarket(registry.build_config("environment", "task_market", about), worlds)
    attacks = []
    if name is not None:
        team_shape = TeamShape(worlds, world.num_agents, 1, 4, 1, world.device)
        config = registry.build_config("attack", name, arguments)
        attacks.append(registry.find("attack", name)(config, team_shape))
    install(world.directory, attacks, defenses=defenses)
    return world


def scripted(world: TaskMarket, choice: Criterion) -> tuple[Tensor, Facts]:
    """[B] summed reward, mean over agents, of an episode each; and what happened to the directory."""
    world.reset(seed=0)
    policy = MarketPolicy(world, choice)
    total = torch.zeros(world.num_worlds)
    for _ in range(world.max_steps):
        total += world.step(policy.act(), auto_reset=False).reward.mean(1)
    return total, world.directory.facts()


@cache
def unattacked(choice: Criterion, defenses: str = "null") -> Tensor:
    """[B] summed reward, mean over agents, with defenses as JSON."""
    return scripted(market(None, defenses=json.loads(defenses)), choice)[0]


def loss(name: str, choice: Criterion, defenses: Defenses | None = None, **arguments: Any) -> tuple[float, float]:
    """What the attack costs on common random numbers, and half of its 99.9% interval."""
    return _loss(name, choice, json.dumps(defenses), json.dumps(arguments))


@cache
def _loss(name: str, choice: Criterion, defenses: str, arguments: str) -> tuple[float, float]:
    hit, _ = scripted(market(name, defenses=json.loads(defenses), **json.loads(arguments)), choice)
    difference = unattacked(choice, defenses) - hit
    return difference.mean().item(), 3.3 * difference.std().item() / WORLDS**0.5


COSTS = [
    ("sybil", "claim", 0.44),
    ("sybil", "reputation", 0.16),
    ("rank", "claim", 1.48),
    ("rank", "reputation", 0.11),
    ("blast", "claim", 0.63),
    ("blast", "reputation", 0.78),
    ("copied_card", "claim", 1.10),
    ("copied_card", "reputation", 0.51),
    ("hub_poison", "claim", 1.34),
    ("hub_poison", "reputation", 1.01),
    ("recursive", "claim", 1.48),
    ("recursive", "reputation", 0.21),
    ("rug_pull", "claim", 0.68),
    ("rug_pull", "reputation", 0.13),
    ("badmouth", "claim", 0.19),
    ("badmouth", "reputation", 0.11),
    ("scapegoat", "claim", 1.48),
    ("scapegoat", "reputation", 0.16),
    ("half_open", "claim", 0.64),
    ("half_open", "reputation", 0.78),
]


# Each attack with the one or the other choice.
@pytest.mark.parametrize(("name", "choice", "expected"), thinned(COSTS, COSTS[::4] + COSTS[3::4]))
def test_attacks_cost_what_was_measured(name: str, choice: Criterion, expected: float) -> None:
    """As measured over 2,000 episodes with the same seeds: these pin the costs, they are no second measurement."""
    cost, half = loss(name, choice)
    assert cost > half, "zero lies outside the interval"
    assert cost == pytest.approx(expected, abs=half + 0.05)


DIRECTORY_PLUGINS = one_of_each_plugin({form: attack_forms()[form] for form in DIRECTORY_FORMS})


@pytest.mark.parametrize("form", thinned(DIRECTORY_FORMS, DIRECTORY_PLUGINS))
def test_controls_spend_as_much_cost_next_to_nothing_and_never_succeed(form: str) -> None:
    name, arguments = attack_forms()[form]
    attacked, world = market(name, **arguments), market(name, **arguments, run_as="control")
    (whole,), (matched,) = attacked.directory.guards, world.directory.guards
    whole.sent = []
    worse, _ = scripted(attacked, "claim")
    matched.pace = whole.sent
    total, facts = scripted(world, "claim")
    guard, attack, clean = matched.base, matched.base.attack, unattacked("claim")
    spent = [g.base.spending.totals() for g in (whole, matched)]
    assert spent[1][0] == pytest.approx(spent[0][0], rel=0.01)
    if name == "hub_poison":
        assert spent[1][1] == pytest.approx(spent[0][1], rel=0.05), "they see other claims once teams ask others"
        assert (total - worse).mean() > 0.5, "a random direction does not mislead"
        return
    assert not (attack.share(facts) > attack.config.threshold).any()
    # Registrations take a hub's time whatever is on the cards.
    assert abs((clean - total).mean().item()) < 0.15
    assert not set(guard.violations) - {"beyond the budget"}


@pytest.mark.parametrize(
    ("name", "knob", "values"),
    [
        ("sybil", "count", [1, 4, 10]),
        ("rank", "steps", [0, 4, 20]),
        ("blast", "rate", [2, 8, 40]),
        ("copied_card", "victims", [1, 3, 6]),
        ("hub_poison", "probability", [0.2, 0.6, 1.0]),
    ],
)
def test_more_does_more_harm(name: str, knob: str, values: list[float]) -> None:
    costs = [loss(name, "claim", **{knob: value})[0] for value in values]
    assert costs == sorted(costs)
    assert costs[-1] > costs[0] + 0.1


BOUNDED = ("sybil", "blast", "copied_card", "hub_poison", "half_open", "recursive", "scapegoat", "badmouth")


@pytest.mark.parametrize("name", thinned(BOUNDED, BOUNDED[::2]))
def test_harm_grows_with_the_budget(name: str) -> None:
    costs = [loss(name, "claim", budget={"per_episode": limit})[0] for limit in (0, 2, 200)]
    assert costs[0] == 0
    assert costs == sorted(costs)


def test_a_directive_works_as_far_as_readers_obey() -> None:
    costs = []
    for obedience in (0.0, 0.5, 1.0):
        directory = {"obedience": obedience}
        total, facts = scripted(market("description", directory=directory), "reputation")
        costs.append((unattacked("reputation") - total).mean().item())
        assert (facts.obeyed.sum() > 0) == (obedience > 0)
    assert costs[0] < costs[1] < costs[2]
    assert costs[2] > costs[0] + 0.2


def test_copies_block_members_until_hops_are_used_up() -> None:
    blocked = []
    for copies, hops in ((0, 2), (2, 2), (6, 2), (6, 0)):
        world = market("recursive", hops=hops, copies=copies)
        _, facts = scripted(world, "claim")
        blocked.append(facts.share("blocked").mean().item())
    assert blocked[0] == blocked[3] == 0
    assert 0.1 < blocked[1] < blocked[2]
    some, none = (loss("recursive", "reputation", copies=copies)[0] for copies in (6, 0))
    assert some > none + 0.03, "more than the tasks it takes"


def test_a_rug_is_pulled_once_it_is_trusted() -> None:
    _, facts = scripted(market("rug_pull", turn=100), "claim")
    assert not facts.spoiled.any()
    _, facts = scripted(market("rug_pull", run_as="control"), "claim")
    assert not facts.misrouted.any(), "no worker for free"
    costs = [loss("rug_pull", "claim", turn=turn)[0] for turn in (4, 12)]
    assert costs[0] > costs[1] + 0.1


def test_half_open_requests_are_blasts_that_last() -> None:
    short: Defenses = {"request_timeout": {"steps": 1}}
    assert loss("half_open", "claim", short, rate=3) == loss("blast", "claim", short, rate=3)
    assert loss("half_open", "claim", rate=3)[0] > loss("blast", "claim", rate=3)[0] + 0.2


def test_false_ratings_are_booked_unless_only_members_may_rate() -> None:
    assert loss("badmouth", "claim", {"member_ratings": {}}) == (0, 0)
    world = market("badmouth", praise=False)
    scripted(world, "claim")
    clean = market(None)
    scripted(clean, "claim")
    best = clean.directory.reputation()[:, :6].argmax(1, keepdim=True)
    before, after = (w.directory.reputation().gather(1, best).mean().item() for w in (clean, world))
    assert after < before - 0.3


def test_a_scapegoat_gets_the_blame_unless_traces_are_sealed() -> None:
    for sealed in (False, True):
        _, facts = scripted(market("scapegoat", defenses={"sealed_traces": {}} if sealed else {}), "claim")
        wrong = int(facts.misblamed.sum()) / int(facts.blamed.sum())
        assert wrong == 0 if sealed else wrong > 0.9


def test_who_knows_no_cards_climbs_by_what_look_ups_show() -> None:
    world = market("rank", knowledge="none", whitewash=False, quality=1.0)
    world.directory.guards[0].base.attack.threat_model()
    scripted(world, "claim")
    cards = world.directory.cards
    mine = cards.principal == world.directory.members
    claim = (cards.claim * mine.unsqueeze(2)).sum(1)
    assert claim.mean() > 0.85, "it began with 0.5"
    assert claim.amin(1).lt(1).any(), "who is first claims no more"
    cost, half = loss("rank", "claim", knowledge="none")
    assert cost > half
    assert cost < loss("rank", "claim")[0], "knowledge is worth something"


def test_last_good_answers_lessen_what_a_blast_costs() -> None:
    plain, half = loss("blast", "claim")
    kept, _ = loss("blast", "claim", {"last_good": {}})
    assert 0 < kept < plain - half


def test_a_challenge_stops_copies_but_no_look_alikes() -> None:
    assert loss("copied_card", "claim", {"challenge": {}}) == (0, 0)
    assert loss("sybil", "claim", {"challenge": {}})[0] > 0.2


def test_a_copy_ruins_its_victims_name() -> None:
    world = market("copied_card", victims=1)
    scripted(world, "claim")
    claims = world.directory.cards.claim[:, :6].sum(2).argmax(1)
    clean = market(None)
    scripted(clean, "claim")
    at = torch.arange(WORLDS)
    bad, before = (w.state["outcomes_bad"][at, claims].float().mean() for w in (world, clean))
    assert bad > before + 1


def test_evaluated_episodes_say_what_became_of_the_directory() -> None:
    world = make_world(Choice(name="task_market", max_steps=6), 32)
    policy = make_policy(Choice(name="commnet"), world)
    clean = measure(play(world, policy, make_comms(world, policy), 0))
    assert clean["misrouted"] == clean["poisoned"] == 0
    metrics = measure(play(world, policy, make_comms(world, policy, [Choice(name="hub_poison")]), 0))
    assert metrics["poisoned"] > 0.5
    assert "unserved" in metrics


def test_attacks_leave_messages_alone() -> None:
    for form in DIRECTORY_FORMS:
        attack = registry.find("attack", attack_forms()[form][0])
        assert issubclass(attack, DirectoryAttack)
        assert hooks(attack) == {"on_directory"}
