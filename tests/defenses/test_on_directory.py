"""Defenses of a directory are chosen like any others, and need one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agentcomm.base.errors import ConfigError
from agentcomm.contracts.outcome import Facts
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice
from envs.market.scripted import MarketPolicy
from envs.market.task_market import TaskMarket


def played(attack: str, *defenses: str, worlds: int = 100) -> Facts:
    """What is counted when scripted members play a market that is attacked and defended as evaluation does it."""
    world = make_world(Choice(name="task_market"), worlds)
    assert isinstance(world, TaskMarket)
    policy = make_policy(Choice(name="ippo"), world)
    made = make_comms(world, policy, [Choice.parse(attack)], [Choice.parse(d) for d in defenses])
    world.reset(seed=0)
    made.reset(torch.arange(worlds))
    members = MarketPolicy(world, "claim")
    for _ in range(world.max_steps):
        world.step(members.act(), auto_reset=False)
    return world.directory.facts()


@pytest.mark.parametrize(
    ("attack", "defense", "share", "most"),
    [
        ("half_open:rate=3", "request_timeout:steps=1", "unserved", 0.75),
        ("copied_card", "challenge", "misrouted", 0.0),
        ("badmouth", "member_ratings", "slandered", 0.0),
        ("scapegoat", "sealed_traces", "misblamed", 0.0),
    ],
)
def test_each_answers_its_attack(attack: str, defense: str, share: str, most: float) -> None:
    bare, defended = (played(attack, *chosen).share(share).mean() for chosen in ((), (defense,)))
    assert bare > 0
    assert defended <= most * bare


def test_they_need_a_directory() -> None:
    world: Any = make_world(Choice(name="predator_prey"), 1)
    policy = make_policy(Choice(name="commformer"), world)
    with pytest.raises(
        ConfigError, match="'challenge' cannot be used here: it needs a directory, but predator_prey has none"
    ):
        make_comms(world, policy, [], [Choice(name="challenge")])


def test_their_memory_is_saved_with_the_rest() -> None:
    world = make_world(Choice(name="task_market"), 5)
    policy = make_policy(Choice(name="ippo"), world)
    made = make_comms(world, policy, [], [Choice(name="last_good")])
    world.reset(seed=0)
    kept = made.defenders.directory_screens
    assert kept is not None
    assert (kept.memories[0].tensors["slot"] >= 0).any(), "the first answers are kept"
    saved, before = made.snapshot(), kept.memories[0].tensors["slot"].clone()
    kept.memories[0].tensors["slot"].fill_(-1)
    made.restore(saved)
    assert torch.equal(kept.memories[0].tensors["slot"], before)
