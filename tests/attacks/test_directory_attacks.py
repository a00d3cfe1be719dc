"""Attacks on the directory: each does harm in the task market, its control does none, and both are measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from parts import DIRECTORY_ATTACKS
from torch import Tensor

from agentcomm import registry
from agentcomm.assembly import make_network, make_policy, make_world
from agentcomm.config import Choice
from agentcomm.directory import DirectoryAttack, Facts
from agentcomm.evaluation.episodes import play
from agentcomm.threats import Setting
from envs.scripted_market import Choice as Criterion
from envs.scripted_market import MarketPolicy
from envs.task_market import TaskMarket

WORLDS = 300


def market(
    name: str | None, worlds: int = WORLDS, directory: dict[str, Any] | None = None, **arguments: Any
) -> TaskMarket:
    world = TaskMarket(registry.build_config("environment", "task_market", {"directory": directory or {}}), worlds)
    if name is not None:
        setting = Setting(worlds, world.num_agents, 1, 4, 1, world.device)
        config = registry.build_config("attack", name, arguments)
        world.directory.install([registry.find("attack", name)(config, setting)], seed=0)
    return world


def scripted(world: TaskMarket, choice: Criterion) -> tuple[Tensor, Facts]:
    """[B] summed reward, mean over agents, of an episode each; and what happened to the directory."""
    world.reset(seed=0)
    policy = MarketPolicy(world, choice)
    total = torch.zeros(world.num_worlds)
    for _ in range(world.max_steps):
        total += world.step(policy.act(), auto_reset=False).reward.mean(1)
    return total, world.directory.facts()


def loss(
    name: str, choice: Criterion, directory: dict[str, Any] | None = None, **arguments: Any
) -> tuple[float, float]:
    """What the attack costs on common random numbers, and half of its 99.9% interval."""
    clean, _ = scripted(market(None, directory=directory), choice)
    hit, _ = scripted(market(name, directory=directory, **arguments), choice)
    difference = clean - hit
    return difference.mean().item(), 3.3 * difference.std().item() / WORLDS**0.5


@pytest.mark.parametrize("choice", ["claim", "reputation"])
@pytest.mark.parametrize(
    ("name", "costs"),
    [
        ("sybil", {"claim": 0.44, "reputation": 0.16}),
        ("rank", {"claim": 1.48, "reputation": 0.11}),
        ("blast", {"claim": 0.63, "reputation": 0.78}),
        ("copied_card", {"claim": 1.10, "reputation": 0.51}),
        ("hub_poison", {"claim": 1.34, "reputation": 1.01}),
    ],
)
def test_attacks_cost_what_was_measured(name: str, costs: dict[str, float], choice: Criterion) -> None:
    """As measured over 2,000 episodes with the same seeds: these pin the costs, they are no second measurement."""
    cost, half = loss(name, choice)
    assert cost > half, "zero lies outside the interval"
    assert cost == pytest.approx(costs[choice], abs=half + 0.05)


@pytest.mark.parametrize("form", DIRECTORY_ATTACKS)
def test_controls_cost_next_to_nothing_and_never_succeed(form: str) -> None:
    name, arguments = DIRECTORY_ATTACKS[form]
    world = market(name, **arguments, harmless=True)
    total, facts = scripted(world, "claim")
    guard = world.directory.guards[0]
    attack = guard.attack
    assert not (attack.share(facts) > attack.config.threshold).any()
    clean, _ = scripted(market(None), "claim")
    # Registrations take a hub's time even if their content is harmless.
    assert (clean - total).mean().item() < 0.15
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


@pytest.mark.parametrize("name", ["sybil", "blast", "copied_card", "hub_poison"])
def test_harm_grows_with_the_budget(name: str) -> None:
    costs = [loss(name, "claim", budget={"per_episode": limit})[0] for limit in (0, 2, 200)]
    assert costs[0] == 0
    assert costs == sorted(costs)


def test_a_challenge_stops_copies_but_no_look_alikes() -> None:
    assert loss("copied_card", "claim", {"challenge": True}) == (0, 0)
    assert loss("sybil", "claim", {"challenge": True})[0] > 0.2


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
    clean = play(world, policy, make_network(world, policy), 0).metrics()
    assert clean["misrouted"] == clean["poisoned"] == 0
    metrics = play(world, policy, make_network(world, policy, [Choice(name="hub_poison")]), 0).metrics()
    assert metrics["poisoned"] > 0.5
    assert "unserved" in metrics


def test_attacks_leave_messages_alone() -> None:
    setting = Setting(2, 3, 1, 4, 1, torch.device("cpu"))
    for name, arguments in DIRECTORY_ATTACKS.values():
        attack = registry.find("attack", name)(registry.build_config("attack", name, arguments), setting)
        assert isinstance(attack, DirectoryAttack)
        edits = attack.apply(None)  # type: ignore[arg-type]
        assert edits.drop is edits.modify is edits.inject is None
