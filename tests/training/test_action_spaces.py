"""Teams with every kind of actions: updates replay rollouts, teams learn by talking, attacks and defenses work."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from matching import MASKED, SPACES, Matching, MatchingConfig
from thinning import thinned

from agentcomm.base.registry import register
from agentcomm.conformance import check_world
from agentcomm.runs.config import parse
from benchmarks.plain_loop import PlainLoop

POLICIES: dict[str, dict[str, Any]] = {
    "parallel": {"name": "commformer", "width": 16, "blocks": 0, "topology": "full"},
    "in turns": {"name": "commformer", "width": 16, "decoder": "autoregressive", "topology": "full"},
    "gated, with memory": {"name": "commformer", "width": 16, "topology": "full", "gate": {}, "memory": {"width": 8}},
    "intents": {"name": "code", "width": 16},
    "exponential": {"name": "expocomm", "width": 16},
    "clipped": {"name": "commformer", "width": 16, "blocks": 0, "topology": "full", "squashed": False},
}
ATTACKS = [{"name": "gradient"}, {"name": "stall", "node": 1, "share": 0.5}, {"name": "drop", "probability": 0.2}]


@pytest.fixture(autouse=True)
def _registered() -> None:
    register("environment", "matching")(Matching)


def loop(space: str, policy: str = "parallel", masks: bool = False, **more: Any) -> PlainLoop:
    environment = {"name": "matching", "space": space, "masks": masks}
    training = {"worlds": 32, "fragment": 8, "env_steps": 100_000, "ppo": {"minibatch": 64, "gamma": 0.0}}
    data = {"name": "matching", "environment": environment, "policy": POLICIES[policy], "training": training}
    return PlainLoop(parse(data | more, "test"))


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("space", SPACES)
def test_worlds_conform(space: str, masks: bool) -> None:
    if masks and space not in MASKED:
        pytest.skip("continuous actions and those are not masked here")
    config = MatchingConfig(space=space, masks=masks)
    check_world(lambda worlds: Matching(config, worlds), num_worlds=3, num_steps=8)


# Every space with half of the policies, every policy with half of the spaces.
TEAMS = list(product(SPACES, POLICIES))
EVEN = [(s, p) for (i, s), (j, p) in product(enumerate(SPACES), enumerate(POLICIES)) if (i + j) % 2 == 0]


@pytest.mark.parametrize(("space", "policy"), thinned(TEAMS, EVEN))
def test_the_first_ratio_is_one(space: str, policy: str) -> None:
    for masks in (False, True) if space in MASKED else (False,):
        team = loop(space, policy, masks)
        columns = team.sampler.collect(8).columns
        assert ("allowed" in columns) == masks
        found = team.update.run(columns)
        assert found["first_ratio_error"] < 1e-5
        assert found["ratio_error"] > 1e-6, "the policy did not move, so the ratio says nothing"


@pytest.mark.parametrize("space", SPACES)
def test_under_attack_and_defense_too(space: str) -> None:
    attacked = loop(space, attacks=ATTACKS, defenses=[{"name": "warden"}, {"name": "clip"}])
    columns = attacked.sampler.collect(8).columns
    guard = attacked.sampler.loop.comms.adversary.action_guards[0]
    assert guard.acted.sum() > 0
    assert not guard.base.violations
    assert attacked.update.run(columns)["first_ratio_error"] < 1e-5


@pytest.mark.parametrize("space", ["sizes", "multi", "continuous"])
def test_teams_learn_by_talking(space: str) -> None:
    torch.manual_seed(0)
    team = loop(space, masks=False)
    before = float(team.sampler.collect(8).columns["target"].mean())
    for _ in range(20):
        team.iterate()
    after = float(team.sampler.collect(8).columns["target"].mean())
    chance = 1 / min(SPACES[space].options, 4)
    assert before < chance + 0.15
    assert after > before + 0.25, f"{before:.2f} before training, {after:.2f} after it"
