"""References of a team: before training, silent, and decoded in the other way; and whether it has learned."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from small import untrained

from agentcomm import api
from agentcomm.base import registry
from agentcomm.base.errors import ConfigError
from agentcomm.contracts.world import World
from agentcomm.evaluation import metrics
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.folder import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """An untrained team and its control, saved as trained ones."""
    return untrained(tmp_path, "environment.size=3")


def test_an_untrained_team_has_not_learned(run: Run) -> None:
    rows = api.evaluate(run, ["drop"], ["clip"])
    clean = [row for row in rows if "references" in row]
    assert [(row["variant"], row["attack"], row["defense_label"]) for row in clean] == [
        ("team", None, "none"),
        ("control", None, "none"),
    ]
    for row in clean:
        found = row["references"]
        assert found["learned"] == {"learned": False, "gain": 0.0, "standard_error": 0.0}
        assert found["greedy"] == row["metrics"]
        assert found["sampled"] == found["untrained"]
        assert ("silent" in found) == (row["variant"] == "team")
    silent, dropped = clean[0]["references"]["silent"], next(row["metrics"] for row in rows if row["attack"])
    assert all(silent[name] == dropped[name] for name in ("mean_steps", "mean_return", "success", "messages_per_step"))


def test_sampled_cells_have_greedy_references(run: Run) -> None:
    rows = api.evaluate(run, [], [], {"decisions": "sampled"})
    for row in rows:
        assert row["references"]["sampled"] == row["metrics"]
        assert row["decisions"] == "sampled"


def test_a_team_that_became_worse_has_not_learned(tmp_path: Path) -> None:
    """It stays put, while an untrained one moves at random and sometimes finds the prey."""
    run = untrained(tmp_path, "evaluation.episodes=64", "environment.max_steps=40", "environment.size=3")
    saved = policy_file.load(run.policy("control", 0))
    with torch.no_grad():
        actor = list(saved.policy.get_submodule("actor").parameters())
        actor[-1].copy_(torch.tensor([0.0, 0, 0, 0, 50.0, 0]))
    policy_file.save(run.policy("control", 0), saved.policy, saved.environment, saved.choice, "control", 0, {})
    row = next(r for r in api.evaluate(run, [], []) if r["variant"] == "control")
    found = row["references"]["learned"]
    assert not found["learned"]
    assert found["gain"] < -3 * found["standard_error"] < 0
    assert math.isclose(
        found["gain"],
        row["references"]["untrained"]["mean_steps"] - row["references"]["sampled"]["mean_steps"],
        abs_tol=1e-6,
    )


@pytest.mark.parametrize("name", sorted(set(registry.names("environment")) - {"attacker", "pettingzoo", "gymnasium"}))
def test_every_environment_declares_a_score(name: str) -> None:
    world = make_world(Choice(name=name), 2)
    score = metrics.score_of(world)
    assert score.better in ("lower", "higher")
    named = {"traffic_junction": "success"}
    assert score.name == named.get(name, "mean_steps" if name.startswith("predator") else "mean_return")


@pytest.mark.parametrize(("score", "why"), [("gate_open", "single episodes"), ("sucess", "success")])
def test_a_score_that_cannot_compare_teams_is_named(score: str, why: str) -> None:
    world: World = make_world(Choice(name="predator_prey"), 2)
    world.score = score
    with pytest.raises((ConfigError, registry.PluginError), match=why):
        metrics.score_of(world)
